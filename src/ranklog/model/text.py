"""Text as the journal and file systems can store it, and the rule for names of items. Pure."""

from __future__ import annotations

import hashlib

from ranklog.model.errors import InvalidArgumentError

MAX_PART_BYTES = 200
"""Longest name of one file or folder. File systems take 255 bytes; the rest is for prefixes and suffixes."""


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
