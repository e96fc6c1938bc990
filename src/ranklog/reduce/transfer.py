"""Send ready-made records from every rank to rank 0, as bounded chunks of one byte stream per rank.

A record travels as its length followed by its msgpack. A chunk holds as many bytes of the next records as fit. A large
record therefore takes many rounds, but never one large message. `SendQueue` is the sending side: any thread may call
`post`, only the reducer thread calls the rest. `Receiver` reassembles the chunks of one rank. Records keep their order.
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
    """A record taken back from a `SendQueue`.

    Attributes:
        serial: Number of the record among those of this rank, from 0.
        record: The encoded record.
        sent: Whether the last chunks contained all of it, so it may have arrived.
    """

    serial: int
    record: bytes
    sent: bool


class SendQueue:
    """Records of one rank that wait to be sent to rank 0.

    Attributes:
        bytes_waiting: Bytes not yet marked as `sent`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: deque[bytes] = deque()
        self._sent: list[bytes] = []  # in the last chunks; the next round tells whether they arrived
        self._serial = 0  # of the first of `_sent`, or of `_frames` if that is empty
        self._done = 0  # bytes of the first frame that are sent
        self._in_chunk = 0
        self.bytes_waiting = 0

    def post(self, records: Sequence[Record]) -> None:
        """Add records at the end; adds none if one of them cannot be encoded."""
        encoded = [encode_record(record) for record in records]
        frames = [_LENGTH.pack(len(data)) + data for data in encoded]
        with self._lock:
            self._frames.extend(frames)
            self.bytes_waiting += sum(map(len, frames))

    def chunk(self, limit_bytes: int) -> bytes:
        """Return the next bytes, at most ``limit_bytes``; they stay in the queue until `sent`."""
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
        """Remove the bytes of the last chunk."""
        with self._lock:
            self.bytes_waiting -= self._in_chunk
            self._done += self._in_chunk
            self._in_chunk = 0
            while self._frames and self._done >= len(self._frames[0]):
                self._sent.append(self._frames.popleft())
                self._done -= len(self._sent[-1])

    def confirm(self) -> None:
        """Forget the records that were sent: every rank has begun a later round, so they have arrived."""
        with self._lock:
            self._serial += len(self._sent)
            self._sent.clear()

    def take_back(self) -> list[OutgoingRecord]:
        """Remove and return every record that is not known to have arrived."""
        with self._lock:
            taken: list[OutgoingRecord] = []
            in_chunk = self._done + self._in_chunk
            for index, frame in enumerate(chain(self._sent, self._frames)):
                if index >= len(self._sent):
                    in_chunk -= len(frame)
                taken.append(OutgoingRecord(self._serial + index, frame[_LENGTH.size :], in_chunk >= 0))
            self._serial += len(taken)
            self._sent.clear()
            self._frames.clear()
            self._done = self._in_chunk = self.bytes_waiting = 0
        return taken

    def put_back(self, records: Sequence[OutgoingRecord]) -> None:
        """Queue records again that were taken back, before all others. No record was taken back since."""
        if not records:
            return
        frames = [_LENGTH.pack(len(each.record)) + each.record for each in records]
        with self._lock:
            self._frames.extendleft(reversed(frames))
            self._serial = records[0].serial
            self.bytes_waiting += sum(map(len, frames))

    @property
    def next_serial(self) -> int:
        """Number of the first record that is not known to have arrived."""
        return self._serial

    def resume(self, received: int) -> None:
        """Send all records again that rank 0 has not received, from the start of the first one.

        Args:
            received: Number of the first record that rank 0 has not received.
        """
        with self._lock:
            waiting = [*self._sent, *self._frames]
            arrived = min(max(received - self._serial, 0), len(waiting))
            self._serial += arrived
            self._sent.clear()
            self._frames = deque(waiting[arrived:])
            self._done = self._in_chunk = 0
            self.bytes_waiting = sum(map(len, self._frames))

    def take(self) -> list[bytes]:
        """Remove and return every record, encoded. For rank 0, which sends none."""
        return [each.record for each in self.take_back()]


class Receiver:
    """Reassembles the records of one sending rank from its chunks.

    Attributes:
        received: Number of the next record; records that the rank kept in its spill file are not sent.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.received = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add a chunk; return the records that are now complete, encoded."""
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

    def resume(self, serial: int) -> None:
        """Forget an incomplete record: the rank sends again, from a record with at least this number."""
        self._bytes.clear()
        self.received = max(self.received, serial)


def encode_record(record: Record) -> bytes:
    """Encode a record as msgpack."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> Record:
    """Decode a record from msgpack."""
    return _decoder.decode(data)
