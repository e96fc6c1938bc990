"""What waits for a disk that refuses, within a bound: pure but for reading the environment once.

In: records that could not be written, oldest first. Out: the same, or fewer where they exceed the bound: items with
their contents go first, the oldest before the others, then the newest metrics; ends and events stay. What went is
counted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ranklog.abc import Content, PendingItem
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.losses import BUFFER_FULL
from ranklog.model.record import Item, Metrics, Params, Record
from ranklog.process.warnings import Health
from ranklog.values.snapshot import VALUE_BYTES

BUFFER_MIB = 64.0
RECORD_BYTES = 200


def buffer_bytes() -> int:
    """How many bytes may wait for a disk: 64 MiB, or ``RANKLOG_BUFFER_MIB``.

    Raises:
        InvalidArgumentError: the variable is no positive number.
    """
    given = os.environ.get("RANKLOG_BUFFER_MIB")
    try:
        mib = float(given) if given else BUFFER_MIB
    except ValueError:
        mib = 0.0
    if not 0.0 < mib < 1e9:
        raise InvalidArgumentError(f"RANKLOG_BUFFER_MIB={given!r} is not allowed: give mebibytes above 0")
    return int(mib * 2**20)


def report_full(health: Health, limit_bytes: int) -> None:
    """Report that records are dropped."""
    health.warn(
        BUFFER_FULL,
        f"writes to the journal keep failing; dropping records beyond RANKLOG_BUFFER_MIB={limit_bytes / 2**20:g}",
    )


def size_of(record: Record) -> int:
    """Roughly the bytes that a record takes in memory."""
    if isinstance(record, Metrics):
        return RECORD_BYTES + VALUE_BYTES * len(record.values)
    if isinstance(record, Params):
        return RECORD_BYTES + sum(VALUE_BYTES + len(str(value)) for value in record.values.values())
    if isinstance(record, Item):
        return RECORD_BYTES + sum(VALUE_BYTES + len(file.data or b"") for file in record.files)
    return RECORD_BYTES


def contents_bytes(entry: object) -> int:
    """Bytes of an item's contents in memory."""
    if not isinstance(entry, PendingItem):
        return 0
    return sum(len(c.source) for c in entry.contents if isinstance(c, Content) and isinstance(c.source, bytes))


class Backlog:
    """Records that wait, oldest first.

    Args:
        limit_bytes: Bound of what is kept, by `size_of`.

    Attributes:
        records: The records.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.records: list[Record] = []
        self._limit_bytes = limit_bytes
        self._sizes: list[int] = []
        self._total = 0

    def measure(self) -> None:
        """Take notice of records that were added to `records` since the last time."""
        new = [size_of(record) for record in self.records[len(self._sizes) :]]
        self._sizes += new
        self._total += sum(new)

    def take_out(self, count: int) -> None:
        """The first ``count`` were written."""
        del self.records[:count]
        self._total -= sum(self._sizes[:count])
        del self._sizes[:count]

    def trim(self) -> int:
        """Leave out what exceeds the bound; returns how many records that were."""
        self.measure()
        if self._total <= self._limit_bytes:
            return 0
        gone = set(self._surplus())
        self.records[:] = [record for index, record in enumerate(self.records) if index not in gone]
        self._sizes = [size for index, size in enumerate(self._sizes) if index not in gone]
        self._total = sum(self._sizes)
        return len(gone)

    def _surplus(self) -> Sequence[int]:
        items = [index for index, record in enumerate(self.records) if isinstance(record, Item)]
        others = [index for index, record in enumerate(self.records) if isinstance(record, (Metrics, Params))]
        excess = self._total - self._limit_bytes
        gone: list[int] = []
        for index in [*items, *reversed(others)]:
            if excess <= 0:
                break
            gone.append(index)
            excess -= self._sizes[index]
        return gone
