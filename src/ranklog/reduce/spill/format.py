"""Items of spill files, and their encoding as packets.

A rank that can no longer reach the others writes its rows and records as items. When it joins them again, it notes
which of these it sends. Rank 0 also writes the values that it has written without all ranks.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from ranklog.model.errors import RanklogError
from ranklog.reduce.agree import RowReport

_PACKET_LIMIT_BYTES = 1 << 30


class SpillHead(msgspec.Struct, frozen=True, array_like=True, tag="head"):
    """First item of a file.

    Attributes:
        rank: Rank that wrote the file.
        world_size: Number of ranks.
        reason: Why the ranks can no longer communicate.
        time_ns: When this rank noticed.
        received: On rank 0, number of the next ready-made record from each rank.
        generation: Generation of ranks that ended then; rank 0 writes a head for each.
    """

    rank: int
    world_size: int
    reason: str
    time_ns: int
    received: tuple[int, ...] = ()
    generation: int = 0


class SpillRows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    """Rows of one rank.

    Attributes:
        rank: Rank whose values they are; rank 0's file also holds values that others had sent to it.
        rows: The rows.
        in_doubt: Whether the last round may have reduced them.
        written: Whether the journal has them, but without the values of all ranks.
        alone: Whether the journal has them by themselves, even if others had sent values of the same names and step.
        contributed: Ranks whose values these are together, if there are more than ``rank``.
        answered: Of written rows, the ranks that had answered.
    """

    rank: int
    rows: list[RowReport]
    in_doubt: bool = False
    written: bool = False
    alone: bool = False
    contributed: Sequence[int] = ()
    answered: Sequence[int] = ()

    @property
    def ranks(self) -> frozenset[int]:
        """Ranks whose values these are."""
        return frozenset(self.contributed or (self.rank,))


class SpillRecord(msgspec.Struct, frozen=True, array_like=True, tag="mail"):
    """One encoded record for the journal.

    Attributes:
        serial: Its number among the records that this rank sends.
        record: The record.
        in_doubt: Whether it may have arrived.
        generation: Generation of ranks in which it may have arrived.
    """

    serial: int
    record: bytes
    in_doubt: bool = False
    generation: int = 0


class SpillReturned(msgspec.Struct, frozen=True, array_like=True, tag="back"):
    """The rank joins the others again, and may send to rank 0 what it has kept.

    Attributes:
        items: How many of the rows and records before this item it may send; 0 if it could not join after all.
    """

    items: int


SpillItem = SpillHead | SpillRows | SpillRecord | SpillReturned

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[SpillItem]] = msgspec.msgpack.Decoder(list[SpillItem])


def pack(items: Sequence[SpillItem]) -> bytes:
    """Encode items as one packet, compressed: names repeat, and most fields of most states are equal."""
    return zlib.compress(_encoder.encode(items), 1)


def unpack(packet: bytes) -> list[SpillItem]:
    """Decode a packet.

    Raises:
        RanklogError: the bytes are not a packet.
    """
    try:
        data = zlib.decompressobj().decompress(packet, _PACKET_LIMIT_BYTES)
        return _decoder.decode(data)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RanklogError(f"a packet of a spill file cannot be read: {error}") from error
