"""Everything that a journal says, by columns: groups of metrics, and all other records. Pure, but for its store.

The rule for superseded points is `ranklog.journal.superseded`. It is asked only where a group begins in an attempt,
because in between only the highest step can change, and that is one number per group.
"""

from __future__ import annotations

import msgspec

from ranklog.journal.superseded import Rewinds
from ranklog.model.record import LAST_LINES, Attempt, Entry, File, Item, Metrics, Record
from ranklog.view.index.columns import SHARED, BlockReader
from ranklog.view.index.groups import BLOCK_ROWS, Group, shared_of
from ranklog.view.index.store import BlockStore

MOST_BYTES = 1 << 25
"""Bytes of rows in memory beyond which the largest groups move to blocks, if they have enough rows."""


class Other(msgspec.Struct, frozen=True, array_like=True):
    """A record that is not a metric.

    Attributes:
        ordinal: Its ordinal.
        segment: Segment that it was read from.
        offset: Byte offset of its frame in that segment.
        attempt: Attempt that wrote it.
        record: The record; files of an item come without their contents.
    """

    ordinal: int
    segment: int
    offset: int
    attempt: int
    record: Record


class Rewind(msgspec.Struct, frozen=True, array_like=True):
    """A metric went back: its rows below an ordinal, from a step on, are superseded."""

    ordinal: int
    step: int


class Began(msgspec.Struct, frozen=True, array_like=True):
    """Something that the rule for superseded points was told: a group logged a step in an attempt."""

    group: int
    step: int
    attempt: int


Key = tuple[str | None, tuple[str, ...]]


class Tables:
    """Columns of one run.

    Args:
        store: Where blocks are kept.

    Attributes:
        reader: Reads blocks of the store.
        groups: Groups of metrics by number.
        sources: Groups that have a metric, by its name.
        others: Records that are not metrics, in order.
        rewinds: Where each metric went back, by name.
        began: What the rule for superseded points was told.
        attempt: Attempt of the newest record.
        records: Number of records.
        last_ns: Time of the newest record of each attempt.
    """

    def __init__(self, store: BlockStore) -> None:
        self.store = store
        self.reader = BlockReader(store.read)
        self.groups: list[Group] = []
        self.sources: dict[str, list[int]] = {}
        self.others: list[Other] = []
        self.rewinds: dict[str, list[Rewind]] = {}
        self.began: list[Began] = []
        self.attempt = 0
        self.records = 0
        self.last_ns: dict[int, int] = {}
        self._keys: dict[Key, Group] = {}
        self._rule = Rewinds()
        self._in_memory = 0
        self._most = MOST_BYTES

    def take(self, entry: Entry, segment: int, offset: int) -> None:
        """Add an entry of the journal, whose frame begins at an offset of a segment."""
        record = entry.record
        self.records = entry.ordinal + 1
        if isinstance(record, Attempt) and record.attempt != self.attempt:
            self._end_attempt()
            self.attempt = record.attempt
        self.last_ns[self.attempt] = max(self.last_ns.get(self.attempt, 0), record.time_ns)
        if isinstance(record, Metrics):
            self._add(record, entry.ordinal)
            return
        self.others.append(Other(entry.ordinal, segment, offset, self.attempt, _without_contents(record)))

    def _add(self, record: Metrics, ordinal: int) -> None:
        try:
            shared = shared_of(record, ordinal, self.attempt)
        except OverflowError:
            return  # no version of ranklog writes such numbers
        if not record.values:
            return
        key = (record.op, tuple(record.values))
        group = self._keys.get(key)
        if group is None:
            group = self.add_group(*key)
        if group.attempt != self.attempt:
            self._begin(group, record.step, ordinal)
        group.add(record, shared, self.attempt)
        self._in_memory += 8 * (len(SHARED) + len(group.names))
        if group.tail_rows >= BLOCK_ROWS:
            self._in_memory -= group.flush(self.store)
        elif self._in_memory > self._most:
            self._make_room()

    def _make_room(self) -> None:
        """Move the largest groups to blocks, until half of the room is free or no group has a block's least rows."""
        for group in sorted(self.groups, key=lambda each: -each.tail_bytes):
            if self._in_memory <= MOST_BYTES // 2:
                break
            self._in_memory -= group.flush(self.store)
        self._most = max(MOST_BYTES, 2 * self._in_memory)

    def add_group(self, op: str | None, names: tuple[str, ...]) -> Group:
        """Add a group without rows."""
        group = Group(len(self.groups), op, names)
        self.groups.append(group)
        self._keys[op, names] = group
        for name in names:
            self.sources.setdefault(name, []).append(group.number)
        return group

    def _begin(self, group: Group, step: int, ordinal: int) -> None:
        """Tell the rule of the first step of a group in an attempt."""
        for name in self._tell(Began(group.number, step, self.attempt)):
            self.rewinds.setdefault(name, []).append(Rewind(ordinal, step))

    def _end_attempt(self) -> None:
        """Tell the rule how far each group came."""
        for group in self.groups:
            if group.highest_step is not None and group.attempt is not None:
                self._tell(Began(group.number, group.highest_step, group.attempt))

    def _tell(self, began: Began) -> list[str]:
        self.began.append(began)
        return self._rule.add(self.groups[began.group].names, step=began.step, attempt=began.attempt)

    def restore(self, began: list[Began]) -> None:
        """Bring the rule to where it was, after the groups were added."""
        for each in began:
            self._tell(each)
        self._in_memory = sum(group.tail_bytes for group in self.groups)

    @property
    def group_rows(self) -> dict[int, int]:
        """Number of rows of each group, by its number."""
        return {group.number: group.rows for group in self.groups}

    def all_rows_count(self, name: str) -> bool:
        """Whether no row of a metric was replaced: one group, with increasing steps."""
        numbers = self.sources[name]
        return len(numbers) == 1 and self.groups[numbers[0]].increasing


def _without_contents(record: Record) -> Record:
    if not isinstance(record, Item) or record.name.startswith(LAST_LINES):
        return record
    files = tuple(File(file.path, file.size, file.sha256) for file in record.files)
    return msgspec.structs.replace(record, files=files)
