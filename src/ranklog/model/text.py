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
    r"""The text itself, or with what UTF-8 cannot hold written out; an exact ``str`` also for a subclass.

    Example:
        >>> storable("grüße"), storable(chr(0xDC80))
        ('grüße', '\\udc80')
    """
    return str.encode(text, "utf-8", "backslashreplace").decode()


def short_part(part: str, given: str | None = None) -> str:
    """A file or folder name of at most `MAX_PART_BYTES`; a longer one keeps its beginning, its end and a digest.

    Args:
        part: The name.
        given: What the digest is computed from: the name before it was escaped. The name itself by default.

    Example:
        >>> short_part("plot.png"), len(short_part("x" * 250 + ".png"))
        ('plot.png', 178)
    """
    raw = part.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_PART_BYTES:
        return part
    # The end is kept for its suffix, the digest keeps long names apart.
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
    """An address whose path, where it has a relative one, is below the working directory; others as they are.

    Args:
        uri: As MLflow takes it: of a server, of a database, or a folder.

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
