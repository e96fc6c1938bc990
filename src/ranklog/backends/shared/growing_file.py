"""An append-only file of a backend, over one open file handle.

After a kill, only the bytes behind the last `append` can be torn; `keep` cuts the file back to a size at which it was
whole. Earlier bytes never change, so other processes can read the file while it grows. A subclass knows its format and
decides whether a prefix is whole. Blocks for the disk.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

from ranklog.journal.descriptor import Descriptor


class GrowingFile(ABC):
    """One file, open for writing.

    Args:
        path: Path of the file; created with mode 0600 if missing.
    """

    def __init__(self, path: Path) -> None:
        self._fd = Descriptor(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.size = self._fd.call(os.fstat).st_size

    @abstractmethod
    def _is_whole(self, size: int) -> bool:
        """Return whether the first ``size`` bytes, which the file has, are whole in this format."""

    def keep(self, size: int) -> bool:
        """Cut the file to its first ``size`` bytes. Returns False and empties the file when they are not whole."""
        whole = 0 <= size <= self.size and self._is_whole(size)
        self.size = size if whole else 0
        self._fd.call(os.ftruncate, self.size)
        return whole

    def append(self, data: bytes) -> None:
        """Write ``data`` at the end.

        Raises:
            OSError: the disk failed. None of ``data`` counts, and it can be appended again.
        """
        view = memoryview(data)
        offset = self.size
        while view:
            written = self._fd.call(os.pwrite, view, offset)
            offset += written
            view = view[written:]
        if offset < self._fd.call(os.fstat).st_size:
            # Remove the rest of an append that failed halfway.
            self._fd.call(os.ftruncate, offset)
        self.size = offset

    def close(self) -> None:
        """Sync and close.

        Raises:
            OSError: the disk failed. The file is closed nevertheless.
        """
        try:
            self._fd.call(os.fsync)
        finally:
            self._fd.close()
