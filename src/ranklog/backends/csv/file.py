"""A file of lines that only grows, and a note of how far it and its sisters are whole.

With the guarantees of `growing_file`, and each `append` is on disk when it returns. Blocks for the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ranklog.backends.shared.growing_file import GrowingFile
from ranklog.journal.layout import write_private


class Progress(msgspec.Struct, frozen=True):
    """How far the files of a run are.

    Attributes:
        created_ns: Creation of the run they belong to.
        next_ordinal: First entry that is not in them.
        sizes: Bytes that are whole, by name of file.
    """

    created_ns: int
    next_ordinal: int
    sizes: dict[str, int]


def load_progress(path: Path, created_ns: int) -> Progress:
    """The note at a path; that of empty files where it is missing, damaged, or about another run."""
    fresh = Progress(created_ns, 0, {})
    try:
        progress = msgspec.json.decode(path.read_bytes(), type=Progress)
    except (OSError, msgspec.MsgspecError):
        return fresh
    return progress if progress.created_ns == created_ns else fresh


def save_progress(path: Path, progress: Progress) -> None:
    """Write the note as a whole."""
    write_private(path, msgspec.json.encode(progress))


class LineFile(GrowingFile):
    """One file of lines, open for writing.

    Args:
        path: Where it is; created 0600 if missing.
        head: What every such file begins with, with its newline; empty for nothing.
    """

    def __init__(self, path: Path, head: bytes = b"") -> None:
        super().__init__(path)
        self._head = head

    def keep(self, size: int) -> bool:
        """Cut the file to its first ``size`` bytes; False, and nothing but the head, where they are not whole lines."""
        whole = super().keep(size)
        if not whole:
            self.append(self._head)
        return whole

    def _is_whole(self, size: int) -> bool:
        if size < len(self._head) or self._fd.call(os.pread, len(self._head), 0) != self._head:
            return False
        return size == 0 or self._fd.call(os.pread, 1, size - 1) == b"\n"

    def append(self, data: bytes) -> None:
        """Write whole lines at the end, on disk when this returns.

        Raises:
            OSError: the disk refused; nothing of ``data`` counts, it may be appended again.
        """
        if data:
            before = self.size
            super().append(data)
            try:
                self._fd.call(os.fsync)
            except OSError:
                self.size = before
                raise
