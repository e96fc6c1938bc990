"""Turns queued calls into records: the work of the drain thread.

In: samples, pending items and ready records, in the order of the calls. Out: records of this rank, and rows for the
reduction. Deferred values are read here and contents are stored here, so the thread may wait for a device or a disk.
Consecutive calls of one step become one record: a step is one row in every backend. Records are emitted before the
contents of a later item go to the disk. Items that the disk refuses wait for the next pass, and items of one name keep
their order, so that the newest one stays the newest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Protocol

import msgspec

from ranklog.abc import Content, PendingItem
from ranklog.journal.store import INLINE_BYTES
from ranklog.model.errors import RanklogError
from ranklog.model.losses import DROPPED_ITEMS, VALUE
from ranklog.model.record import Event, File, Item, Metrics, Record
from ranklog.pipeline.backlog import contents_bytes
from ranklog.pipeline.contents import AwaitedRunDirError
from ranklog.pipeline.inbox import Entry, Inbox
from ranklog.process.blackbox import LastValues
from ranklog.process.warnings import Health
from ranklog.values.snapshot import Value

INLINE_TOTAL_BYTES = 64 * 1024


class RowSink(Protocol):
    """Takes the values that are reduced."""

    def add(self, values: dict[str, float], *, step: int, op: str, to: int, time_ns: int, weight: float) -> None:
        """Add one sample of each name."""


class RecordBuilder:
    """Empties an inbox; for one thread.

    Args:
        inbox: Filled by the program's threads.
        rows: Takes values to be reduced.
        emit: Takes this rank's own records: the journal on rank 0, the mail to rank 0 elsewhere.
        store: Stores one content; the flag says whether it may go into the record itself.
        health: Takes trouble.
        rank: This rank, for the names of its series.
        shared: Backends for which several ranks log series of their own.
        last: Keeps the newest values, for the black box.
        limit_bytes: Bound of the contents that wait for the disk.

    Attributes:
        waiting: Items that the disk has refused so far; they are tried again in the next pass.
        awaits_run_dir: Whether some of them wait for a run directory that may still come.
        dropped: Items that were given up, since the waiting contents exceeded the limit.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        rows: RowSink,
        emit: Callable[[Sequence[Record]], None],
        store: Callable[[Content, bool], File],
        health: Health,
        rank: int,
        shared: int,
        last: LastValues,
        limit_bytes: int,
    ) -> None:
        self._inbox = inbox
        self._rows = rows
        self._emit = emit
        self._store = store
        self._health = health
        self._shared = shared
        self.waiting = 0
        self.awaits_run_dir = False
        self.dropped = 0
        self._built: list[Record] = []
        self._held: deque[tuple[PendingItem, int]] = deque()
        self._held_names: set[str] = set()
        self._limit_bytes = limit_bytes
        self._last = last
        self._rank = rank
        self._nonfinite: set[str] = set()
        self._suffix = f"/rank_{rank:03d}"
        self._folder = f"rank_{rank:03d}/"

    def run_once(self) -> int:
        """Handle the items that wait and what is queued now; returns how many calls were queued."""
        taken = self._inbox.take()
        self.awaits_run_dir = False
        self._store_held()
        count = len(taken)
        if taken:
            self._build(taken)
        self._emit_built()
        self._trim()
        return count

    @property
    def waiting_items(self) -> list[str]:
        """Kinds and names of the items that wait."""
        return [f"{pending.item.kind} {pending.item.name!r}" for pending, _ in self._held]

    def _emit_built(self) -> None:
        if self._built:
            built = tuple(self._built)
            self._built.clear()
            self._emit(built)

    def _store_held(self) -> None:
        """Try the waiting items again, before what was queued since."""
        held, self._held = self._held, deque()
        self._held_names.clear()
        for pending, _ in held:
            self._built.extend(self._keep(pending))

    def _build(self, entries: list[Entry]) -> None:
        """Turn entries into records, and remove each from the list: the training thread reuses memory still cached."""
        entries.reverse()
        joined: dict[str, float] | None = None
        joined_key: tuple[int, int] | None = None
        while entries:
            entry = entries.pop()
            if not isinstance(entry, tuple):
                joined = None
                self._built.extend(self._keep(entry))
                continue
            raw, step, time_ns, to, op, weight = entry
            try:
                values = _read(raw)
                self._last.add(values, step)
                if op is not None:
                    weight = 1.0 if weight is None else weight
                    self._rows.add(values, step=step, op=op, to=to, time_ns=time_ns, weight=weight)
                    continue
            except Exception as error:  # a device may fail in any way
                self._health.warn(VALUE, f"values of {', '.join(raw)} at step {step} cannot be read: {error}")
                continue
            if not isfinite(sum(values.values())):
                self._built.extend(self._first_nonfinite(values, step, time_ns))
            if to & self._shared:
                joined = None
                self._built.extend(self._split(Metrics(step, time_ns, to, values)))
            elif joined is not None and joined_key == (step, to) and joined.keys().isdisjoint(values):
                joined.update(values)
            else:
                joined, joined_key = values, (step, to)
                self._built.append(Metrics(step, time_ns, to, values))

    def _trim(self) -> None:
        """Give up the oldest waiting items where their contents exceed the limit."""
        excess = sum(size for _, size in self._held) - self._limit_bytes
        while excess > 0:
            excess -= self._held.popleft()[1]
            self.dropped += 1
            self._health.warn(
                DROPPED_ITEMS,
                f"items cannot be stored; dropping the oldest beyond RANKLOG_BUFFER_MIB={self._limit_bytes / 2**20:g}",
            )
        self.waiting = len(self._held)

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
        """Store the contents of an item; one that the disk refuses is held for the next pass."""
        if not isinstance(entry, PendingItem):
            return (entry,)
        inline = contents_bytes(entry)
        if entry.item.name in self._held_names:
            self._held.append((entry, inline))
            return ()
        try:
            small = inline <= INLINE_TOTAL_BYTES
            if not small or any(not isinstance(c, File) and _needs_disk(c) for c in entry.contents):
                self._emit_built()  # the disk may take long, and earlier records need not wait for it
            files = tuple(c if isinstance(c, File) else self._store(c, small) for c in entry.contents)
        except AwaitedRunDirError:
            self._held.append((entry, inline))
            self._held_names.add(entry.item.name)
            self.awaits_run_dir = True
            return ()
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


def _needs_disk(content: Content) -> bool:
    return isinstance(content.source, Path) or len(content.source) > INLINE_BYTES


def _read(values: Mapping[str, Value]) -> dict[str, float]:
    """Values as floats; deferred ones may wait for their device."""
    return {
        name: v if type(v) is float else float(v) if isinstance(v, int) else v.resolve()  # type: ignore[union-attr]
        for name, v in values.items()
    }
