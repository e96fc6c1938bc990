"""An append-only file of lines, and the progress file that holds how far such files are whole.

`LineFile` is a `GrowingFile` whose `append` returns when the lines are on disk. Blocks for the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ranklog.backends.shared.growing_file import GrowingFile
from ranklog.journal.layout import write_private


class Progress(msgspec.Struct, frozen=True):
    """How far the files of a run are whole.

    Attributes:
        created_ns: Creation time of the run.
        next_ordinal: First entry that is not in the files.
        sizes: Whole bytes by file name.
    """

    created_ns: int
    next_ordinal: int
    sizes: dict[str, int]


def load_progress(path: Path, created_ns: int) -> Progress:
    """Load the progress, or that of empty files when it is missing, damaged, or of another run."""
    fresh = Progress(created_ns, 0, {})
    try:
        progress = msgspec.json.decode(path.read_bytes(), type=Progress)
    except (OSError, msgspec.MsgspecError):
        return fresh
    return progress if progress.created_ns == created_ns else fresh


def save_progress(path: Path, progress: Progress) -> None:
    """Save the progress as a whole."""
    write_private(path, msgspec.json.encode(progress))


class LineFile(GrowingFile):
    """One file of lines, open for writing.

    Args:
        path: Path of the file; created with mode 0600 if missing.
        head: First line of the file with its newline, or nothing.
    """

    def __init__(self, path: Path, head: bytes = b"") -> None:
        super().__init__(path)
        self._head = head

    def keep(self, size: int) -> bool:
        """Cut the file to its first ``size`` bytes. Returns False and keeps only the head if these are no lines."""
        whole = super().keep(size)
        if not whole:
            self.append(self._head)
        return whole

    def _is_whole(self, size: int) -> bool:
        if size < len(self._head) or self._fd.call(os.pread, len(self._head), 0) != self._head:
            return False
        return size == 0 or self._fd.call(os.pread, 1, size - 1) == b"\n"

    def append(self, data: bytes) -> None:
        """Write whole lines at the end and sync the file.

        Raises:
            OSError: the disk failed. None of ``data`` counts, and it can be appended again.
        """
        if data:
            before = self.size
            super().append(data)
            try:
                self._fd.call(os.fsync)
            except OSError:
                self.size = before
                raise
