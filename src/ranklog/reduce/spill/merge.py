"""Merge spill files into records. Pure.

`Spills` reads the spill files of all ranks. A value is merged from all ranks that had it, as a round would have done,
and corrects what was written without them. Rows and records that may have reached rank 0 are left out if rank 0's file
or the journal has them already, or if their rank has kept them again later.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from ranklog.model.record import Coverage, Metrics, Record
from ranklog.reduce.agree import Key, Memory, Ready, Report, RowReport, agree
from ranklog.reduce.gathered import take
from ranklog.reduce.merger import Merger
from ranklog.reduce.ops import STATS
from ranklog.reduce.records import RecordMaker, Reduced
from ranklog.reduce.spill.format import SpillHead, SpillItem, SpillRecord, SpillRows
from ranklog.reduce.spill.history import History
from ranklog.reduce.transfer import decode_record, encode_record


class Spills:
    """The items of all spill files of one rendezvous.

    Args:
        files: Items of each file, by rank.
        ended: Ranks whose file is complete, because they closed their logger.
        merged_before: Whether the journal may have what an earlier merge found.
    """

    def __init__(
        self, files: Mapping[int, Sequence[SpillItem]], ended: Container[int], *, merged_before: bool = False
    ) -> None:
        self._files = files
        self._ended = ended
        self._merged_before = merged_before
        self._histories = {rank: History(items) for rank, items in files.items()}
        heads = [item for items in files.values() for item in items if isinstance(item, SpillHead)]
        self._size = max((head.world_size for head in heads), default=0)
        own = files.get(0, ())
        self._received: dict[int, tuple[int, ...]] = {}
        for item in own:
            if isinstance(item, SpillHead):
                # A handshake that fails adds a second head of the generation before, with what ranks announced in it.
                self._received.setdefault(item.generation, item.received)
        self._held: set[tuple[int, Key]] = {
            (rank, key)
            for item in own
            if isinstance(item, SpillRows)
            for row in item.rows
            for key in row.held_keys()
            for rank in item.ranks
        }

    def records(self, journal: Iterable[Record]) -> list[Record]:
        """Return the records that the journal lacks, and those that correct it.

        Args:
            journal: Records of the journal; only read if it may have any of these.
        """
        reduced, posted = self._written(journal) if self._merged_before or self._doubts() else (None, set())
        return [*self._unsent(posted), *self._merged(reduced)]

    def _doubts(self) -> bool:
        return any(history.sent or history.in_doubt for history in self._histories.values())

    def _written(self, journal: Iterable[Record]) -> tuple[dict[Key, int], set[bytes]]:
        """Find in the journal what is in doubt: keys with the number of ranks that contributed, and records.

        Keys that rank 0 has written are in doubt too: it may have ended before they were in the journal.
        """
        keys: set[Key] = set()
        posted: set[bytes] = set()
        for rank, items in self._files.items():
            sent = self._histories[rank].sent
            for position, item in enumerate(items):
                if isinstance(item, SpillRows) and (item.in_doubt or item.written or position in sent):
                    keys.update(key for row in item.rows for key in row.held_keys())
                elif isinstance(item, SpillRecord) and (item.in_doubt or position in sent or self._merged_before):
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

    def _unsent(self, posted: set[bytes]) -> list[Record]:
        out: list[Record] = []
        for rank, items in sorted(self._files.items()):
            out += [
                decode_record(item.record)
                for position, item in enumerate(items)
                if isinstance(item, SpillRecord) and not self._arrived(rank, position, item, posted)
            ]
        return out

    def _arrived(self, rank: int, position: int, item: SpillRecord, posted: set[bytes]) -> bool:
        history = self._histories[rank]
        if history.serials[item.serial] > position or (self._merged_before and item.record in posted):
            return True
        received = self._received.get(item.generation)
        if item.in_doubt and (item.record in posted if received is None else item.serial < received[rank]):
            return True
        return position in history.sent and (item.record in posted or self._received_since(rank, item))

    def _received_since(self, rank: int, item: SpillRecord) -> bool:
        """Return whether a later generation than the one in which a record was kept received it."""
        later = (received for generation, received in self._received.items() if generation > item.generation)
        return any(received[rank] > item.serial for received in later)

    def _merged(self, reduced: Mapping[Key, int] | None) -> list[Record]:
        rows: list[list[RowReport]] = [[] for _ in range(self._size)]
        origin: list[list[SpillRows]] = [[] for _ in range(self._size)]
        for rank, items in sorted(self._files.items()):
            for position, item in enumerate(items):
                if not isinstance(item, SpillRows):
                    continue
                for row in item.rows:
                    left = self._left(rank, position, item, row, reduced or {})
                    if left is not None:
                        rows[item.rank].append(left)
                        origin[item.rank].append(item)
        reports = [Report(rows[rank], closing=rank in self._ended, patience_s=0.0) for rank in range(self._size)]
        ready, _ = agree(reports, Memory.fresh(self._size))
        new = [item for item in ready if not self._known(item, origin, reduced)]
        groups, states = Merger(self._size).merge(new, reports)
        return RecordMaker().make(
            [self._covered(group, item, origin) for group, item in zip(groups, new, strict=True)], states
        )

    def _covered(self, group: Reduced, item: Ready, origin: Sequence[Sequence[SpillRows]]) -> Reduced:
        """Return the group with the ranks behind its values; it corrects values that the journal has."""
        holders = [origin[rank][index] for rank, index in item.holders]
        contributed = frozenset[int]().union(*(holder.ranks for holder in holders))
        answered = item.answered.union(contributed, *(holder.answered for holder in holders))
        coverage = Coverage(len(answered), self._size, len(contributed))
        return msgspec.structs.replace(group, coverage=coverage, corrects=any(holder.written for holder in holders))

    def _left(
        self, rank: int, position: int, item: SpillRows, row: RowReport, reduced: Mapping[Key, int]
    ) -> RowReport | None:
        """Return the names of a row that rank 0 has not reduced and that its rank has not kept again; None for none."""
        history = self._histories[rank]
        note = history.sent.get(position)
        if not item.in_doubt and note is None:
            return row
        left = [
            index
            for index, key in enumerate(row.held_keys())
            if (item.rank, key) not in self._held
            and reduced.get(key, 0) < self._size
            and (note is None or history.keys[key] < note)
        ]
        return take(row, left) if left else None

    def _known(self, item: Ready, origin: Sequence[Sequence[SpillRows]], reduced: Mapping[Key, int] | None) -> bool:
        """Return whether the journal already has this value as it would be merged."""
        holders = [origin[rank][index] for rank, index in item.holders]
        together = len(holders) == 1 or not any(holder.alone for holder in holders)
        if not (together and all(holder.written for holder in holders)):
            return False
        contributed = frozenset[int]().union(*(holder.ranks for holder in holders))
        keys = item.keys()
        if reduced is not None and any(reduced.get(key, 0) < len(contributed) for key in keys):
            return False
        return item.answered <= contributed.union(*(holder.answered for holder in holders))


def _base_name(name: str, op: str | None) -> str:
    if op != "stats":
        return name
    base, _, suffix = name.rpartition("/")
    return base if suffix in STATS else name
