"""Framing of the journal: records to bytes and back. Pure.

A frame holds a batch of records and is the unit of damage: it is read whole or not at all. Layout, little endian:
magic ``RLJ1``, payload length (u32), ordinal of the first record (u64), number of records (u32), CRC-32C (u32) over
these three numbers and the payload, payload (msgpack list of tagged records).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
from crc32c import crc32c

from ranklog.model.record import Record

MAGIC = b"RLJ1"
HEADER_BYTES = 24
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
FRAME_RECORDS = 4096
FRAME_BYTES = 4 * 1024 * 1024
_FIND_TRIES = 100  # bounds the time that bytes forged to look like frames can take

_HEADER = struct.Struct("<4sIQII")
_CHECKED = struct.Struct("<IQI")
_LIST = struct.Struct(">BI")
_LIST_32 = 0xDD  # msgpack: a list with a 32-bit length
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[Record]] = msgspec.msgpack.Decoder(list[Record])


class Frame(msgspec.Struct, frozen=True):
    """A decoded frame: its records, the ordinal of the first one, and its size in bytes."""

    ordinal: int
    records: list[Record]
    size: int


class Payload(msgspec.Struct, frozen=True):
    """Bytes of a whole frame, its ordinal, and the number of elements that it announces."""

    data: bytes
    ordinal: int
    count: int

    @property
    def size(self) -> int:
        """Bytes of the frame."""
        return HEADER_BYTES + len(self.data)


class FrameDamage(msgspec.Struct, frozen=True):
    """Bytes that are not a frame, and why."""

    reason: str


class Incomplete(msgspec.Struct, frozen=True):
    """Bytes that end before their frame does: a torn tail, or a frame that is still being written."""

    missing: int


def encode_frame(records: Sequence[Record], ordinal: int) -> bytes:
    """Frame a batch of records; ``ordinal`` is the number of the first one.

    Raises:
        ValueError: a record cannot be encoded, or the payload exceeds `MAX_PAYLOAD_BYTES`.
    """
    frame, taken = fill_frame(records, 0, ordinal, max_records=len(records), max_bytes=MAX_PAYLOAD_BYTES)
    if taken < len(records):
        raise ValueError(f"a frame holds at most {MAX_PAYLOAD_BYTES} bytes, which these {len(records)} records exceed")
    return frame


def fill_frame(
    records: Sequence[Record],
    start: int,
    ordinal: int,
    *,
    max_records: int = FRAME_RECORDS,
    max_bytes: int = FRAME_BYTES,
) -> tuple[bytes, int]:
    """Frame as many records from ``start`` on as one frame should hold, at least one; also return how many.

    A single record may take more than ``max_bytes``, up to `MAX_PAYLOAD_BYTES`.

    Raises:
        ValueError: one of these records cannot be encoded: its text is not Unicode (a lone surrogate), an int exceeds
            64 bits, its type is not a record, or it is too large.
    """
    payload = bytearray(_LIST.size)
    count = 0
    for record in records[start : start + max_records]:
        end = len(payload)
        try:
            _encoder.encode_into(record, payload, -1)
        except (ValueError, OverflowError, TypeError, RecursionError, msgspec.MsgspecError) as error:
            raise ValueError(f"a record cannot be encoded: {error}") from error
        if count and len(payload) > max_bytes:
            del payload[end:]
            break
        count += 1
    _LIST.pack_into(payload, 0, _LIST_32, count)
    return wrap(bytes(payload), ordinal, count), count


def wrap(payload: bytes, ordinal: int, count: int) -> bytes:
    """Frame any bytes.

    Raises:
        ValueError: they exceed `MAX_PAYLOAD_BYTES`.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame holds at most {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    checked = _CHECKED.pack(len(payload), ordinal, count)
    checksum = crc32c(payload, crc32c(checked))
    return _HEADER.pack(MAGIC, len(payload), ordinal, count, checksum) + payload


def decode_frame(data: bytes | memoryview, offset: int = 0) -> Frame | Incomplete | FrameDamage:
    """Decode the frame of records that starts at ``offset``. Never raises, for any bytes."""
    found = unwrap(data, offset)
    return _decode_payload(found) if isinstance(found, Payload) else found


def unwrap(data: bytes | memoryview, offset: int = 0) -> Payload | Incomplete | FrameDamage:
    """Read the payload of the frame that starts at ``offset``. Never raises, for any bytes."""
    magic = bytes(data[offset : offset + len(MAGIC)])
    if magic != MAGIC[: len(magic)]:
        return FrameDamage("no frame magic")
    available = len(data) - offset
    if available < HEADER_BYTES:
        return Incomplete(HEADER_BYTES - available)
    _, length, ordinal, count, checksum = _HEADER.unpack_from(data, offset)
    if length > MAX_PAYLOAD_BYTES:
        return FrameDamage(f"payload length {length} above the limit")
    if available < HEADER_BYTES + length:
        return Incomplete(HEADER_BYTES + length - available)
    payload = bytes(data[offset + HEADER_BYTES : offset + HEADER_BYTES + length])
    if crc32c(payload, crc32c(_CHECKED.pack(length, ordinal, count))) != checksum:
        return FrameDamage("checksum does not match")
    return Payload(payload, ordinal, count)


def find_frame(data: bytes, start: int) -> int | None:
    """Return the offset of a whole frame at or after ``start``; None if the first candidates hold none."""
    offset = start - 1
    for _ in range(_FIND_TRIES):
        offset = data.find(MAGIC, offset + 1)
        if offset < 0:
            break
        if isinstance(decode_frame(data, offset), Frame):
            return offset
    return None


def _decode_payload(found: Payload) -> Frame | FrameDamage:
    try:
        records = _decoder.decode(found.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return FrameDamage(f"payload cannot be decoded: {error}")
    if len(records) != found.count:
        return FrameDamage(f"holds {len(records)} records, announced {found.count}")
    return Frame(found.ordinal, records, found.size)
