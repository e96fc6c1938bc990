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
from itertools import chain

import msgspec

from ranklog.model.record import Record

_LENGTH = struct.Struct(">Q")
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class OutgoingRecord(msgspec.Struct, frozen=True):
    """One record that was posted.

    Attributes:
        serial: Its number among this rank's records, from 0.
        record: The record, encoded.
        sent: Whether the last chunks held the whole of it, so that it may have arrived.
    """

    serial: int
    record: bytes
    sent: bool


class Mail:
    """Records of one rank that wait for rank 0.

    Attributes:
        bytes_waiting: Bytes of frames that were not confirmed as `sent`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: deque[bytes] = deque()
        self._sent: list[bytes] = []  # by the last chunks: whether they arrived is known a round later
        self._serial = 0  # of the first of `_sent`, or of `_frames` where that is empty
        self._done = 0  # bytes of the first frame that are sent
        self._in_chunk = 0
        self.bytes_waiting = 0

    def post(self, records: Sequence[Record]) -> None:
        """Add records at the end; all, or none where one cannot be encoded."""
        encoded = [encode_record(record) for record in records]
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
                self._sent.append(self._frames.popleft())
                self._done -= len(self._sent[-1])

    def confirm(self) -> None:
        """What was sent has arrived: every rank has begun a later round."""
        with self._lock:
            self._serial += len(self._sent)
            self._sent.clear()

    def take_back(self) -> list[OutgoingRecord]:
        """Remove and return every record of which it is not sure that it has arrived."""
        with self._lock:
            letters: list[OutgoingRecord] = []
            in_chunk = self._done + self._in_chunk
            for index, frame in enumerate(chain(self._sent, self._frames)):
                if index >= len(self._sent):
                    in_chunk -= len(frame)
                letters.append(OutgoingRecord(self._serial + index, frame[_LENGTH.size :], in_chunk >= 0))
            self._serial += len(letters)
            self._sent.clear()
            self._clear()
        return letters

    def take(self) -> list[bytes]:
        """Remove and return every record, encoded; for rank 0, which sends none."""
        return [letter.record for letter in self.take_back()]

    def _clear(self) -> None:
        self._frames.clear()
        self._done = self._in_chunk = self.bytes_waiting = 0


class Frames:
    """Records of one sending rank, from its chunks in order.

    Attributes:
        received: How many records have come whole.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.received = 0

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
        self.received += len(out)
        return out


def encode_record(record: Record) -> bytes:
    """Encode a record."""
    return _encoder.encode(record)


def read_record(data: bytes) -> Record:
    """Decode a record."""
    return _decoder.decode(data)
