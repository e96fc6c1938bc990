"""Ready-made records on their way to rank 0, as bounded chunks of one stream of bytes a rank.

A record travels as a frame: its length, then its msgpack. A chunk holds as much of the next frames as fits, so that
a record of any size needs many rounds and never a large message. `Mail` is the sending side: `post` is for any
thread, the rest for the reducer thread. `Frames` puts one rank's chunks together again. Records keep their order.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Sequence

import msgspec

from ranklog.model.record import Record

_LENGTH = struct.Struct(">Q")
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class Mail:
    """Records of one rank that wait for rank 0.

    Attributes:
        bytes_waiting: Bytes of frames that were not confirmed as `sent`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: deque[bytes] = deque()
        self._done = 0  # bytes of the first frame that are sent
        self._in_chunk = 0
        self.bytes_waiting = 0

    def post(self, records: Sequence[Record]) -> None:
        """Add records at the end; all, or none where one cannot be encoded."""
        encoded = [_encoder.encode(record) for record in records]
        frames = [_LENGTH.pack(len(data)) + data for data in encoded]
        with self._lock:
            self._frames.extend(frames)
            self.bytes_waiting += sum(map(len, frames))

    def chunk(self, limit_bytes: int) -> bytes:
        """The next bytes, at most so many, left in place until `sent`."""
        parts: list[memoryview] = []
        left, start = limit_bytes, self._done
        with self._lock:
            for frame in self._frames:
                part = memoryview(frame)[start : start + left]
                parts.append(part)
                left -= len(part)
                start = 0
                if not left:
                    break
            self._in_chunk = limit_bytes - left
        return b"".join(parts)

    def sent(self) -> None:
        """Remove what the last chunk held."""
        with self._lock:
            self.bytes_waiting -= self._in_chunk
            self._done += self._in_chunk
            self._in_chunk = 0
            while self._frames and self._done >= len(self._frames[0]):
                self._done -= len(self._frames.popleft())

    def take(self) -> list[bytes]:
        """Remove and return every record, encoded; for rank 0, which sends none."""
        with self._lock:
            frames = list(self._frames)
            self._clear()
        return [frame[_LENGTH.size :] for frame in frames]

    def clear(self) -> int:
        """Remove everything; returns how many records that were, one sent in part included."""
        with self._lock:
            count = len(self._frames)
            self._clear()
            return count

    def _clear(self) -> None:
        self._frames.clear()
        self._done = self._in_chunk = self.bytes_waiting = 0


class Frames:
    """Records of one sending rank, from its chunks in order."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a record has come in part."""
        return bool(self._bytes)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add a chunk; returns the records that are whole now, encoded."""
        self._bytes += chunk
        out: list[bytes] = []
        start = 0
        while len(self._bytes) >= start + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes, start)
            end = start + _LENGTH.size + length
            if len(self._bytes) < end:
                break
            out.append(bytes(memoryview(self._bytes)[start + _LENGTH.size : end]))
            start = end
        del self._bytes[:start]
        return out


def read_record(data: bytes) -> Record:
    """Decode a record."""
    return _decoder.decode(data)
