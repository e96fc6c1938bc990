"""Text in forms that can be stored anywhere: for the journal, as file names, as names of items, as absolute URIs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ranklog.model.errors import InvalidArgumentError

MAX_PART_BYTES = 200
"""Longest name of one file or folder. File systems take 255 bytes; the rest is for prefixes and suffixes."""


_SQLITE = re.compile(r"(?P<scheme>sqlite(\+\w+)?:///)(?P<path>[^/?:][^?:]*)(?P<query>\?.*)?")
_FOLDER = re.compile(r"(file:)?(?P<path>[^/:][^:]*)")


def storable(text: str) -> str:
    r"""Return a text that UTF-8 can encode: other characters are escaped. An exact ``str``, even for a subclass.

    Example:
        >>> storable("grüße"), storable(chr(0xDC80))
        ('grüße', '\\udc80')
    """
    return str.encode(text, "utf-8", "backslashreplace").decode()


def type_text(value: object) -> str:
    """Describe the type of a value for an error message, with its article.

    Example:
        >>> type_text(3), type_text("high"), type_text(Path), type_text(None)
        ('an int', 'a str', 'a type', 'None')
    """
    if value is None:
        return "None"
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def shorten_name(part: str, given: str | None = None) -> str:
    """Shorten a file or folder name to `MAX_PART_BYTES`: keep its beginning and its end, with a digest between.

    Args:
        part: The name.
        given: The name before it was escaped, from which the digest is computed; by default the name itself.

    Example:
        >>> shorten_name("plot.png"), len(shorten_name("x" * 250 + ".png"))
        ('plot.png', 178)
    """
    raw = part.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_PART_BYTES:
        return part
    # The end keeps the suffix, and the digest keeps long names apart.
    digest = hashlib.sha256((part if given is None else given).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{raw[:120].decode(errors='ignore')}~{digest}~{raw[-40:].decode(errors='ignore')}"


def check_name(name: object) -> str:
    """Return ``name``, as an exact ``str``, if it may be an identifier.

    Raises:
        InvalidArgumentError: it is not a str of 1 to 512 printable characters.
    """
    if not isinstance(name, str):
        raise InvalidArgumentError(f"identifier={name!r} is not allowed: give a str, not {type(name).__name__}")
    if not name or len(name) > 512 or not name.isprintable():
        shown = ascii(name if len(name) <= 60 else name[:60] + "…")
        raise InvalidArgumentError(
            f"identifier={shown} is not allowed: give 1 to 512 printable characters (no newline, NUL or lone surrogate)"
        )
    return str.__str__(name)


def absolute_uri(uri: str) -> str:
    """Return an address with its relative path made absolute; other addresses are returned unchanged.

    Args:
        uri: An address that MLflow accepts: a server, a database, or a folder.

    Example:
        >>> absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{Path.cwd()}/mlflow.db"
        True
        >>> absolute_uri("file:./mlruns") == absolute_uri("mlruns") == (Path.cwd() / "mlruns").as_uri()
        True
        >>> absolute_uri("sqlite:////data/mlflow.db"), absolute_uri("sqlite://")
        ('sqlite:////data/mlflow.db', 'sqlite://')
        >>> absolute_uri("https://mlflow.example:5000"), absolute_uri("databricks")
        ('https://mlflow.example:5000', 'databricks')
    """
    if found := _SQLITE.fullmatch(uri):
        return f"{found['scheme']}{Path(found['path']).absolute()}{found['query'] or ''}"
    if (found := _FOLDER.fullmatch(uri)) and not uri.startswith("databricks"):
        return Path(found["path"]).absolute().as_uri()
    return uri
