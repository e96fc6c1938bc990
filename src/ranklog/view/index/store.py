"""Where blocks are kept: in memory, or appended to a file of the cache, with the newest ones in memory.

Reading never moves a file position, so several threads may read. One thread appends.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class BlockStore:
    """Blocks in a file up to its length at the start, and behind it those that were appended since.

    Args:
        path: File of the cache to read from; None keeps everything in memory.
        size: Number of bytes of the file that count.
        writable: Whether to append to the file. If not, or if the disk refuses, appended blocks stay in memory.

    Attributes:
        size: Bytes so far, which is the offset of the next block.
        refused: Why the disk refused a write; None if it did not.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path | None = None, *, size: int = 0, writable: bool = False) -> None:
        self._fd = -1
        self.size = size
        self.refused: OSError | None = None
        self._on_disk = size
        self._memory = bytearray()
        self._writable = writable and path is not None
        if path is not None:
            self._fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        if self._writable:
            os.ftruncate(self._fd, size)

    def append(self, data: bytes) -> None:
        """Append one block."""
        if self._writable:
            try:
                _write_all(self._fd, data, self.size)
            except OSError as error:
                self.refused, self._writable = error, False
            else:
                self._on_disk += len(data)
        if not self._writable:
            self._memory += data
        self.size += len(data)

    def leave_disk(self) -> None:
        """Keep in memory whatever is appended from now on."""
        self._writable = False

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes from an offset on; fewer if the file was cut."""
        if offset >= self._on_disk:
            start = offset - self._on_disk
            return bytes(self._memory[start : start + size])
        return os.pread(self._fd, size, offset)

    def sync(self) -> None:
        """Have the file on the disk.

        Raises:
            OSError: the disk refused, now or before.
        """
        if self.refused is not None:
            raise self.refused
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
