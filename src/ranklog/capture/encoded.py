"""What encoding gives: an item in canonical form, with names for its files. Pure."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec

from ranklog.model.errors import InvalidArgumentError, InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.model.spec import Scalar


class Content(msgspec.Struct, frozen=True):
    """One file of an encoded item: its relative path, and its bytes or the file to copy them from."""

    path: str
    source: bytes | Path


class Encoded(msgspec.Struct, frozen=True):
    """An item in canonical form: media type, contents, and what the encoding knows beside (`Item.meta`)."""

    media: str
    contents: tuple[Content, ...]
    meta: dict[str, Scalar] = {}


def wrong_item(item: object, name: str, kind: str, why: str = "") -> InvalidItemError:
    """The error for an item that its kind cannot store."""
    what = f"{type(item).__module__}.{type(item).__qualname__}".removeprefix("builtins.")
    return InvalidItemError(f"{kind} {name!r} is a {what}{why}: give {KINDS[kind].accepts}")


def file_name(name: str, suffix: str = "") -> str:
    """A safe relative path for an identifier; the suffix is added where the identifier has none like it.

    Example:
        >>> file_name("val/report", ".txt"), file_name("notes.md", ".txt"), file_name("v1.2", ".png")
        ('val/report.txt', 'notes.md', 'v1.2.png')
    """
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/"]
    if not parts or ".." in parts:
        raise InvalidArgumentError(f"identifier={name!r} cannot name a file: leave out '..' and a bare '/'")
    path = str(PurePosixPath(*parts))
    present = PurePosixPath(path).suffix
    if not suffix or present == suffix or (suffix == ".txt" and present[1:].isalpha()):
        return path
    return path + suffix
