"""Names of the files of an item. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.text import shorten_name


def file_name(name: str, suffix: str = "") -> str:
    """A safe relative path for an identifier. The suffix is added where the identifier has none that fits.

    Parts that are too long for a file name are shortened by `shorten_name`.

    Raises:
        InvalidArgumentError: the identifier contains ``..`` or is only a slash.

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
    return str(PurePosixPath(*map(shorten_name, parts)))
