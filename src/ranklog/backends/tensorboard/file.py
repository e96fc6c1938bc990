"""An event file: TensorBoard's record framing over one open file handle.

`EventFile` is a `GrowingFile` that takes serialised events. TensorBoard's own writer opens the file again for every
event, which is slow on network file systems, and computes checksums in Python.
"""

from __future__ import annotations

import struct

from crc32c import crc32c

from ranklog.backends.shared.growing_file import GrowingFile

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = 12


def frame(event: bytes) -> bytes:
    """Frame one event: length, checksum of the length, event, checksum of the event."""
    length = _LENGTH.pack(len(event))
    return length + _checksum(length) + event + _checksum(event)


def _checksum(data: bytes) -> bytes:
    value = crc32c(data)
    # TFRecord rotates and offsets checksums, because checksums of data that contains checksums are weak.
    return _CHECKSUM.pack((((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


class EventFile(GrowingFile):
    """One event file, open for writing. A whole file consists of whole records with correct checksums."""

    def _is_whole(self, size: int) -> bool:
        offset = 0
        with open(self._fd.number, "rb", closefd=False) as file:
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
