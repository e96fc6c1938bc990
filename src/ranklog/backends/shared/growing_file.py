"""A file of a backend's own that only grows, over one open file handle.

Guarantees: after a kill the file is at most torn behind the last `append`, and `keep` cuts it back to a place that was
whole before; what was there before stays byte for byte, so that whoever reads along is not disturbed. What counts as
whole is the format's to say. Blocks for the disk.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

from ranklog.journal.descriptor import Descriptor


class GrowingFile(ABC):
    """One file, open for writing.

    Args:
        path: Where it is; created 0600 if missing.
    """

    def __init__(self, path: Path) -> None:
        self._fd = Descriptor(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.size = self._fd.call(os.fstat).st_size

    @abstractmethod
    def _is_whole(self, size: int) -> bool:
        """Whether the first ``size`` bytes, which are there, are whole in this format."""

    def keep(self, size: int) -> bool:
        """Cut the file to its first ``size`` bytes; False, and an empty file, where they are not whole."""
        whole = 0 <= size <= self.size and self._is_whole(size)
        self.size = size if whole else 0
        self._fd.call(os.ftruncate, self.size)
        return whole

    def append(self, data: bytes) -> None:
        """Write at the end.

        Raises:
            OSError: the disk refused; nothing of ``data`` counts, it may be appended again.
        """
        view = memoryview(data)
        offset = self.size
        while view:
            written = self._fd.call(os.pwrite, view, offset)
            offset += written
            view = view[written:]
        if offset < self._fd.call(os.fstat).st_size:
            # Left by an append that failed half way.
            self._fd.call(os.ftruncate, offset)
        self.size = offset

    def close(self) -> None:
        """Sync and close.

        Raises:
            OSError: the disk refused; the file is closed all the same.
        """
        try:
            self._fd.call(os.fsync)
        finally:
            self._fd.close()
