"""What encoding gives: an item in canonical form, with names for its files. Pure."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import Scalar
from ranklog.model.text import short_part


class Content(msgspec.Struct, frozen=True):
    """One file of an encoded item: its relative path, and its bytes or the file to copy them from."""

    path: str
    source: bytes | Path


class Encoded(msgspec.Struct, frozen=True):
    """An item in canonical form.

    Attributes:
        media: Media type of the whole.
        contents: Its files.
        meta: What the encoding knows beside (`Item.meta`).
        changed: What of the item is not stored as it was given, in words: a warning of its own.
    """

    media: str
    contents: tuple[Content, ...]
    meta: dict[str, Scalar] = {}
    changed: str = ""


def file_name(name: str, suffix: str = "") -> str:
    """A safe relative path for an identifier; the suffix is added where the identifier has none like it.

    A part of the path that is too long for a file name is shortened, as `short_part` says.

    Example:
        >>> file_name("val/report", ".txt"), file_name("notes.md", ".txt"), file_name("v1.2", ".png")
        ('val/report.txt', 'notes.md', 'v1.2.png')
    """
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/"]
    if not parts or ".." in parts:
        raise InvalidArgumentError(f"identifier={name!r} cannot name a file: leave out '..' and a bare '/'")
    present = PurePosixPath(parts[-1]).suffix
    if suffix and present != suffix and not (suffix == ".txt" and present[1:].isalpha()):
        parts[-1] += suffix
    return str(PurePosixPath(*map(short_part, parts)))
