"""Takes what the training thread put into the inbox and turns it into records: the drain thread's work.

In: `Sample` tuples and `PendingItem` items, in the order of the calls. Out: records of this rank's own values, and rows
for the reduction buffer. Values that were deferred are read here, contents are stored here: this thread may wait
for a device or a disk. Consecutive calls of one step become one record, so that a step is a row in every backend.
Items that the disk refuses wait, and items of one name keep their order: the newest is the one that stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Protocol

import msgspec

from ranklog.abc import Content, PendingItem
from ranklog.model.errors import RanklogError
from ranklog.model.losses import DROPPED_ITEMS, VALUE
from ranklog.model.record import Event, File, Item, Metrics, Record
from ranklog.pipeline.backlog import buffer_bytes
from ranklog.process.blackbox import LastValues
from ranklog.process.health import Health
from ranklog.values.snapshot import Value, resolve

Sample = tuple[dict[str, Value], int, int, int, str | None, float | None]
"""Values, step, time_ns, backends, reduction or None, weight or None."""


INLINE_TOTAL_BYTES = 64 * 1024


class RowSink(Protocol):
    """Where values that are reduced go: `ranklog.reduce.buffer.Buffer`."""

    def add(self, values: dict[str, float], *, step: int, op: str, to: int, time_ns: int, weight: float) -> None:
        """Add one sample of each name."""


class Drain:
    """Empties an inbox.

    Args:
        inbox: Filled by the training thread.
        rows: Takes values to be reduced.
        emit: Takes this rank's own records: the journal on rank 0, the mail to rank 0 elsewhere.
        store: Stores one content; the flag says whether it may go into the record itself.
        health: Takes trouble.
        rank: This rank, for the names of its series.
        shared: Backends for which several ranks log series of their own.
        last: Keeps the newest values, for the black box.

    Attributes:
        put_back: Items that could not be stored the last time, which lie in the inbox again. While another thread
            tries once more they still count: who flushes must not take them for stored.
        dropped: Items that were given up, since their contents exceeded what may wait in memory.
    """

    def __init__(
        self,
        inbox: deque[Sample | PendingItem | Record],
        *,
        rows: RowSink,
        emit: Callable[[Sequence[Record]], None],
        store: Callable[[Content, bool], File],
        health: Health,
        rank: int,
        shared: int,
        last: LastValues,
    ) -> None:
        self._inbox = inbox
        self._rows = rows
        self._emit = emit
        self._store = store
        self._health = health
        self._shared = shared
        self.put_back = 0
        self.dropped = 0
        self._held: deque[tuple[PendingItem, int]] = deque()
        self._held_names: set[str] = set()
        self._limit_bytes = buffer_bytes()
        self._last = last
        self._rank = rank
        self._nonfinite: set[str] = set()
        self._suffix = f"/rank_{rank:03d}"
        self._folder = f"rank_{rank:03d}/"

    def run_once(self) -> int:
        """Handle what lies in the inbox now; returns how many calls that was."""
        taken = len(self._inbox)
        if not taken:
            return 0
        popleft = self._inbox.popleft
        out: list[Record] = []
        joined: dict[str, float] | None = None
        joined_key: tuple[int, int] | None = None
        for _ in range(taken):
            entry = popleft()
            if not isinstance(entry, tuple):
                joined = None
                out.extend(self._keep(entry))
                continue
            raw, step, time_ns, to, op, weight = entry
            try:
                values = resolve(raw)
            except Exception as error:  # a device may fail in any way
                self._health.warn(VALUE, f"values of {', '.join(raw)} at step {step} cannot be read: {error}")
                continue
            self._last.add(values, step)
            if op is not None:
                weight = 1.0 if weight is None else weight
                self._rows.add(values, step=step, op=op, to=to, time_ns=time_ns, weight=weight)
                continue
            if not isfinite(sum(values.values())):
                out.extend(self._first_nonfinite(values, step, time_ns))
            if to & self._shared:
                joined = None
                out.extend(self._split(Metrics(step, time_ns, to, values)))
            elif joined is not None and joined_key == (step, to) and joined.keys().isdisjoint(values):
                joined.update(values)
            else:
                joined, joined_key = values, (step, to)
                out.append(Metrics(step, time_ns, to, values))
        try:
            if out:
                self._emit(out)
        finally:
            self._put_back()
        return taken

    def _put_back(self) -> None:
        """Leave what could not be stored for the next time; the oldest is given up where that is too much."""
        excess = sum(size for _, size in self._held) - self._limit_bytes
        while excess > 0:
            excess -= self._held.popleft()[1]
            self.dropped += 1
            self._health.warn(DROPPED_ITEMS, "the disk refuses for so long that items are given up, the oldest first")
        self.put_back = len(self._held)
        # In front: what the training thread logged since is newer.
        self._inbox.extendleft(parcel for parcel, _ in reversed(self._held))
        self._held.clear()
        self._held_names.clear()

    def _first_nonfinite(self, values: dict[str, float], step: int, time_ns: int) -> list[Record]:
        """An event at the first NaN or infinity of each name; those of reduced values come from the reduction."""
        new = [name for name, value in values.items() if not isfinite(value) and name not in self._nonfinite]
        self._nonfinite.update(new)
        text = "first NaN or infinite value"
        return [
            Event(
                "warning",
                "nonfinite",
                f"{name}: {text} at step {step}, on rank {self._rank}",
                time_ns,
                self._rank,
                step,
            )
            for name in new
        ]

    def _keep(self, entry: PendingItem | Record) -> Sequence[Record]:
        """Store what a parcel brings; where the disk refuses, it goes back into the inbox for the next time."""
        if not isinstance(entry, PendingItem):
            return (entry,)
        inline = sum(len(c.source) for c in entry.contents if isinstance(c, Content) and isinstance(c.source, bytes))
        if entry.item.name in self._held_names:
            self._held.append((entry, inline))
            return ()
        try:
            small = inline <= INLINE_TOTAL_BYTES
            files = tuple(c if isinstance(c, File) else self._store(c, small) for c in entry.contents)
        except (OSError, RanklogError) as error:
            self._held.append((entry, inline))
            if isinstance(error, OSError):  # a run directory that is out of reach may stay so: small items go on
                self._held_names.add(entry.item.name)
            text = f"{entry.item.kind} {entry.item.name!r} cannot be stored yet, and is tried again: {error}"
            cure = ". Free space or quota there" if isinstance(error, OSError) else ""
            self._health.warn("store", text + cure)
            return ()
        return self._split(msgspec.structs.replace(entry.item, files=files))

    def _split(self, record: Metrics | Item) -> list[Record]:
        """Keep what several ranks log apart: series by a suffix, files by a folder."""
        out: list[Record] = []
        for to, apart in ((record.to & ~self._shared, False), (record.to & self._shared, True)):
            if not to:
                continue
            if not apart:
                out.append(msgspec.structs.replace(record, to=to))
            elif isinstance(record, Metrics):
                values = {name + self._suffix: value for name, value in record.values.items()}
                out.append(msgspec.structs.replace(record, to=to, values=values))
            else:
                files = tuple(msgspec.structs.replace(f, path=self._folder + f.path) for f in record.files)
                out.append(msgspec.structs.replace(record, to=to, name=self._folder + record.name, files=files))
        return out
