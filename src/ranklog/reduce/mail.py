"""Ready-made records on their way to rank 0, as bounded msgpack packets.

`post` is for any thread, `packet` and `sent` for the reducer thread. Records keep their order; a packet holds at
most about its limit, but always at least one record.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import msgspec

from ranklog.model.record import Record

_encoder = msgspec.msgpack.Encoder()
_packet_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_record_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class Mail:
    """Records of one rank that wait for rank 0."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._in_packet = 0
        self.bytes_waiting = 0

    def post(self, records: Sequence[Record]) -> None:
        """Add records at the end."""
        encoded = [_encoder.encode(record) for record in records]
        with self._lock:
            self._waiting.extend(encoded)
            self.bytes_waiting += sum(map(len, encoded))

    def packet(self, limit_bytes: int) -> bytes:
        """The first records, left in place until `sent`."""
        with self._lock:
            chosen: list[msgspec.Raw] = []
            size = 0
            for data in self._waiting:
                if chosen and size + len(data) > limit_bytes:
                    break
                chosen.append(msgspec.Raw(data))
                size += len(data)
            self._in_packet = len(chosen)
        return _encoder.encode(chosen) if chosen else b""

    def sent(self) -> None:
        """Remove what the last packet held."""
        with self._lock:
            self._drop(self._in_packet)

    def clear(self) -> int:
        """Remove everything; returns how many records that were."""
        with self._lock:
            count = len(self._waiting)
            self._drop(count)
            return count

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self.bytes_waiting -= len(self._waiting.popleft())
        self._in_packet = 0


def read_packet(data: bytes) -> list[Record]:
    """Records of a packet."""
    return [_record_decoder.decode(raw) for raw in _packet_decoder.decode(data)] if data else []
