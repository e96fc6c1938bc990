"""An event file: TensorBoard's record framing over one open file handle.

Takes serialised events, writes them in one go. Guarantees: after a kill the file is at most torn behind the last
`append`, and `keep` cuts it back to a place that was whole before; what was there before stays byte for byte, so
that a TensorBoard that reads along is not disturbed. TensorBoard's own writer opens the file again for every
event, which crawls on network file systems, and computes its checksums in Python.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from crc32c import crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = 12


def frame(event: bytes) -> bytes:
    """One record: length, its checksum, the event, its checksum."""
    length = _LENGTH.pack(len(event))
    return length + _checksum(length) + event + _checksum(event)


def _checksum(data: bytes) -> bytes:
    value = crc32c(data)
    # TFRecord rotates the checksum, so that a checksum of data that holds checksums stays useful.
    return _CHECKSUM.pack((((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


class EventFile:
    """One event file, open for writing.

    Args:
        path: Where it is; created 0600 if missing.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._fd).st_size

    def keep(self, size: int) -> bool:
        """Cut the file to its first ``size`` bytes; False, and an empty file, where they are not whole records."""
        whole = size <= self.size and self._is_whole(size)
        self.size = size if whole else 0
        os.ftruncate(self._fd, self.size)
        return whole

    def _is_whole(self, size: int) -> bool:
        offset = 0
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(0)
            while offset < size:
                header = file.read(_HEADER_BYTES)
                if len(header) < _HEADER_BYTES or header[8:] != _checksum(header[:8]):
                    return False
                (length,) = _LENGTH.unpack_from(header)
                offset += _HEADER_BYTES + length + 4
                if offset > size:
                    return False
                event = file.read(length)
                if file.read(4) != _checksum(event):
                    return False
        return offset == size

    def append(self, data: bytes) -> None:
        """Write framed events at the end.

        Raises:
            OSError: the disk refused; nothing of ``data`` counts, it may be appended again.
        """
        view = memoryview(data)
        offset = self.size
        while view:
            written = os.pwrite(self._fd, view, offset)
            offset += written
            view = view[written:]
        if offset < os.fstat(self._fd).st_size:
            # Left by an append that failed half way.
            os.ftruncate(self._fd, offset)
        self.size = offset

    def close(self) -> None:
        """Sync and close."""
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
