"""What ranks keep when they can no longer talk, and how it is put together later: pure.

A rank whose communicator broke turns its rows and its mail into packets for its spill file; rank 0 keeps there, too,
the states of what it has written without all ranks. `merge_spills` makes records of all files: a value is merged from
all ranks that had it, as a round would have done, and corrects what was written without them. What may have arrived
before the break is marked as in doubt, and is left out where rank 0's file or the journal has it.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from ranklog.model.errors import RanklogError
from ranklog.model.record import Metrics, Record
from ranklog.reduce.agree import Key, Memory, Ready, Report, RowReport, agree
from ranklog.reduce.gathered import Merger
from ranklog.reduce.mail import encode_record, read_record
from ranklog.reduce.ops import STATS
from ranklog.reduce.records import RecordMaker

_PACKET_LIMIT_BYTES = 1 << 30


class SpillHead(msgspec.Struct, frozen=True, array_like=True, tag="head"):
    """First item of a file.

    Attributes:
        rank: Whose file it is.
        world_size: Ranks there are.
        reason: Why the ranks can no longer talk.
        time_ns: When that was seen.
        received: On rank 0: how many records it has had by mail from each rank.
    """

    rank: int
    world_size: int
    reason: str
    time_ns: int
    received: tuple[int, ...] = ()


class SpillRows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    """Rows of one rank.

    Attributes:
        rank: Whose values they are: in rank 0's file also those that others had sent it.
        rows: The rows.
        in_doubt: Whether they may have been reduced in the last round.
        written: Whether the journal has them, without the values of all ranks.
        alone: Whether it has them by themselves, also where others had sent values of the same names and step.
    """

    rank: int
    rows: list[RowReport]
    in_doubt: bool = False
    written: bool = False
    alone: bool = False


class SpillMail(msgspec.Struct, frozen=True, array_like=True, tag="mail"):
    """One record for the journal, encoded.

    Attributes:
        serial: Its number among the records that this rank sends.
        record: The record.
        in_doubt: Whether it may have arrived.
    """

    serial: int
    record: bytes
    in_doubt: bool = False


SpillItem = SpillHead | SpillRows | SpillMail

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[SpillItem]] = msgspec.msgpack.Decoder(list[SpillItem])


def pack(items: Sequence[SpillItem]) -> bytes:
    """Encode items as one packet. Compressed: names repeat, and most fields of most states are equal."""
    return zlib.compress(_encoder.encode(items), 1)


def unpack(packet: bytes) -> list[SpillItem]:
    """Decode a packet.

    Raises:
        RanklogError: it is no packet.
    """
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(packet, _PACKET_LIMIT_BYTES)
        return _decoder.decode(data)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RanklogError(f"a packet of a spill file cannot be read: {error}") from error


class Spills:
    """The spill files of one meeting, read.

    Args:
        files: Items of each file, by rank.
        ended: Ranks whose file is whole, since they closed their logger.
    """

    def __init__(self, files: Mapping[int, Sequence[SpillItem]], ended: Container[int]) -> None:
        self._files = files
        self._ended = ended
        heads = [item for items in files.values() for item in items if isinstance(item, SpillHead)]
        self._size = max((head.world_size for head in heads), default=0)
        own = files.get(0, ())
        self._received = next((i.received for i in own if isinstance(i, SpillHead)), None)
        self._held: set[tuple[int, Key]] = {
            (item.rank, key) for item in own if isinstance(item, SpillRows) for row in item.rows for key in _keys(row)
        }

    def records(self, journal: Iterable[Record]) -> list[Record]:
        """Records that the journal lacks, or that correct what it has.

        Args:
            journal: What the journal holds; only read where something is in doubt.
        """
        reduced, posted = self._written(journal) if self._doubts() else ({}, set())
        return [*self._mail(posted), *self._merged(reduced)]

    def _doubts(self) -> bool:
        return any(getattr(item, "in_doubt", False) for items in self._files.values() for item in items)

    def _written(self, journal: Iterable[Record]) -> tuple[dict[Key, int], set[bytes]]:
        """What is in doubt and stands in the journal: keys with the number of ranks behind them, and records."""
        keys: set[Key] = set()
        posted: set[bytes] = set()
        for items in self._files.values():
            for item in items:
                if isinstance(item, SpillRows) and item.in_doubt:
                    keys.update(key for row in item.rows for key in _keys(row))
                elif isinstance(item, SpillMail) and item.in_doubt:
                    posted.add(item.record)
        reduced: dict[Key, int] = {}
        seen: set[bytes] = set()
        for record in journal:
            if isinstance(record, Metrics) and record.coverage is not None:
                for name in record.values:
                    key = (_base_name(name, record.op), record.op or "", record.to, record.step)
                    if key in keys:
                        reduced[key] = max(reduced.get(key, 0), record.coverage.contributed)
            elif posted and (encoded := encode_record(record)) in posted:
                seen.add(encoded)
        return reduced, seen

    def _mail(self, posted: set[bytes]) -> list[Record]:
        out: list[Record] = []
        for rank, items in sorted(self._files.items()):
            arrived = self._received[rank] if self._received is not None else None
            for item in items:
                if not isinstance(item, SpillMail):
                    continue
                if not (item.in_doubt and item.record in posted if arrived is None else item.serial < arrived):
                    out.append(read_record(item.record))
        return out

    def _merged(self, reduced: Mapping[Key, int]) -> list[Record]:
        rows: list[list[RowReport]] = [[] for _ in range(self._size)]
        origin: list[list[SpillRows]] = [[] for _ in range(self._size)]
        for _, items in sorted(self._files.items()):
            for item in items:
                if not isinstance(item, SpillRows):
                    continue
                for row in item.rows:
                    if item.in_doubt and self._has(item.rank, row, reduced):
                        continue
                    rows[item.rank].append(row)
                    origin[item.rank].append(item)
        reports = [Report(rows[rank], closing=rank in self._ended, patience_s=0.0) for rank in range(self._size)]
        ready, _ = agree(reports, Memory.fresh(self._size))
        new = [item for item in ready if not self._known(item, origin)]
        groups, states = Merger(self._size).merge(new, reports)
        corrected = [
            msgspec.structs.replace(group, corrects=any(origin[rank][index].written for rank, index in item.holders))
            for group, item in zip(groups, new, strict=True)
        ]
        return RecordMaker().make(corrected, states)

    def _has(self, rank: int, row: RowReport, reduced: Mapping[Key, int]) -> bool:
        """Whether a row in doubt was reduced: all its names were, in one round."""
        return all((rank, key) in self._held or reduced.get(key, 0) == self._size for key in _keys(row))

    def _known(self, item: Ready, origin: Sequence[Sequence[SpillRows]]) -> bool:
        """Whether the journal says the same already."""
        holders = [origin[rank][index] for rank, index in item.holders]
        together = len(holders) == 1 or not any(holder.alone for holder in holders)
        return together and all(holder.written for holder in holders) and len(item.answered) <= len(holders)


def _keys(row: RowReport) -> list[Key]:
    return [(name, row.op, row.to, row.step) for name in row.names]


def _base_name(name: str, op: str | None) -> str:
    if op != "stats":
        return name
    base, _, suffix = name.rpartition("/")
    return base if suffix in STATS else name
