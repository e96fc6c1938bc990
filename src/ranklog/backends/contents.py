"""Contents of items, read from the run directory. Blocks for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ranklog.journal.layout import make_private_dir
from ranklog.journal.store import copy_out, read_file
from ranklog.model.record import File


class RunContents(msgspec.Struct, frozen=True):
    """The contents of one run's items; implements `ranklog.abc.ContentReader`.

    Attributes:
        run_dir: The run directory.
    """

    run_dir: Path

    def read(self, file: File) -> bytes:
        """Return the content of one file of an item."""
        return read_file(self.run_dir, file)

    def copy(self, files: Sequence[File], directory: Path) -> list[Path]:
        """Write files below ``directory`` under their relative paths and return these paths. The files are private.

        Raises:
            ValueError: a path would leave the directory.
        """
        written: list[Path] = []
        root = directory.resolve()
        for file in files:
            target = (root / file.path).resolve()
            if root not in target.parents:
                raise ValueError(f"path {file.path!r} of an item leaves its directory")
            make_private_dir(target.parent)
            copy_out(self.run_dir, file, target)
            written.append(target)
        return written
