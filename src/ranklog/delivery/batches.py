"""Reads the journal's records for one backend, in order and in batches.

Starts at any ordinal and continues while the journal grows. Skips records for other backends, records that were set
aside, and the repeated heads of segments. Finds where the run ends for this backend: after an `End`, or where an
attempt without `End` is followed by attempts that do not use the backend. Records after an `End`, such as values merged
from spill files, come before the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ranklog.journal.heads import Position, head_before, read_heads
from ranklog.journal.reader import Damage, JournalReader
from ranklog.journal.targets import Target, is_for
from ranklog.model.record import Attempt, End, Entry, Status

BATCH_ENTRIES = 2000
PATIENCE_S = 60.0
"""Seconds to wait for the end of a segment. Network clients cache sizes and names for up to half a minute."""


class Batches:
    """Batches of records for one backend.

    Args:
        run_dir: The run directory.
        target: The backend.
        ordinal: The first record to read.
        is_set_aside: Whether a record was set aside, by ordinal.
        closed: Whether the backend was already closed with a status at this ordinal.
        clock: Monotonic seconds.

    Attributes:
        batch: Records that wait. Whoever delivers a record removes it.
        read_to: The ordinal after the last record that was read.
        closing: Status with which the run ends for this backend after the batch; None while it continues.
        attempt: The attempt at the current position.
        start: Number of the segment in which reading began.
    """

    def __init__(
        self,
        run_dir: Path,
        target: Target,
        ordinal: int,
        is_set_aside: Callable[[int], bool],
        *,
        closed: bool,
        clock: Callable[[], float],
    ) -> None:
        self._run_dir = run_dir
        self._target = target
        self._is_set_aside = is_set_aside
        heads = read_heads(run_dir)
        head = head_before(heads, ordinal)
        self.start = head.segment if head else 0
        self._reader = JournalReader(run_dir, Position(self.start, 0), patience_s=PATIENCE_S, clock=clock)
        self._entries: Iterator[Entry] = iter(())
        earlier = [each.attempt for each in heads if each.segment < self.start]
        self.attempt: Attempt | None = earlier[-1] if earlier else None
        self._mask = target.mask(self.attempt) if self.attempt else 0
        self._open = self._mask != 0 and not closed
        self.batch: list[Entry] = []
        self.read_to = ordinal
        self.closing: Status | None = None
        self._end: Status | None = None
        self._closed = closed

    @property
    def damage(self) -> list[Damage]:
        """Damage found so far."""
        return self._reader.damage

    @property
    def tail(self) -> Damage | None:
        """An unfinished frame at the end of the journal."""
        return self._reader.tail

    @property
    def awaits_segment(self) -> int | None:
        """Number of the segment whose end is not there yet, although the next segment is."""
        return self._reader.awaits_segment

    def fill(self, extra: int = 0) -> None:
        """Read until the batch is full (with ``extra`` records more), or the journal or the run ends."""
        while len(self.batch) < BATCH_ENTRIES + extra and self.closing is None:
            entry = next(self._entries, None)
            if entry is None:
                self._entries = self._reader.poll()
                entry = next(self._entries, None)
                if entry is None:
                    if not self._closed and self.awaits_segment is None:
                        self.closing = self._end
                    return
            self._take(entry)

    def close(self) -> None:
        """Record that the backend was closed with the status in `closing`."""
        self.closing = None
        self._closed = True

    def _take(self, entry: Entry) -> None:
        record = entry.record
        repeated = record == self.attempt  # every segment begins with its attempt
        if isinstance(record, Attempt) and not repeated:
            mask = self._target.mask(record)
            if self._open and not mask:
                self._end = "KILLED"
            elif mask:
                self._end, self._closed = None, False
            self.attempt, self._mask, self._open = record, mask, mask != 0
        elif isinstance(record, End) and self._mask:
            self._open, self._end = False, record.status
        if entry.ordinal < self.read_to:
            return
        self.read_to = entry.ordinal + 1
        if repeated or not is_for(entry, self._mask):
            return
        self._closed = False
        if not self._is_set_aside(entry.ordinal):
            self.batch.append(entry)
