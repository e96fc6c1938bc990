"""Summary of a run for a list of runs. Reads only segment heads, the last segment and the cursors, to be cheap.

Damaged files raise no error: `find_runs` skips a run with unreadable facts, and damage of the journal is part of the
result. The status is the one in the journal. Without one, it depends on whether the training process is alive, or, on
another host, on the modification time of the journal.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ranklog.journal.heads import Head, Position, head_before, read_heads
from ranklog.journal.layout import read_facts, segments
from ranklog.journal.liveness import is_alive
from ranklog.journal.reader import JournalReader
from ranklog.model.losses import LOSSES, WITHDRAWN_BY
from ranklog.model.record import Attempt, End, Event, Record, RunFacts
from ranklog.view.deliveries import Delivery, DeliveryCounter

RUNNING_SILENCE_S = 180.0
KILLED_SILENCE_S = 900.0

RunStatus = Literal["FINISHED", "FAILED", "KILLED", "RUNNING", "UNKNOWN"]
ENDED: tuple[RunStatus, ...] = ("FINISHED", "FAILED", "KILLED")
"""Statuses of a run that has ended."""


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of runs.

    Attributes:
        run_dir: The run directory.
        facts: Facts that never change.
        status: Status of the run.
        attempts: Number of attempts so far.
        last_ns: Wall-clock time of the last record.
        records: Number of records in the journal.
        deliveries: State of each backend. `accepted` counts only records that had to be read for `waiting`.
        losses: Losses that the run reported, in the part that was read: at least the last segment.
    """

    run_dir: str
    facts: RunFacts
    status: RunStatus
    attempts: int
    last_ns: int
    records: int
    deliveries: tuple[Delivery, ...]
    losses: tuple[str, ...] = ()


def losses_of(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the losses that a run reported and did not withdraw, with the last text of each kind."""
    found: dict[str, str] = {}
    for record in records:
        if isinstance(record, Event) and record.code in LOSSES:
            found[record.code] = record.text
        elif isinstance(record, Event) and record.code in WITHDRAWN_BY:
            found.pop(WITHDRAWN_BY[record.code], None)
    return tuple(found.values())


def summarise(run_dir: Path) -> RunSummary:
    """Summarise a run.

    Raises:
        RunNotFoundError: the directory is not a run.
    """
    facts = read_facts(run_dir)
    heads = read_heads(run_dir)
    last_ns, end, total = facts.created_ns, None, 0
    attempts = attempts_of(head.attempt for head in heads)
    counter = DeliveryCounter(run_dir, attempts)
    events: list[Record] = []
    for entry in JournalReader(run_dir, _start(heads, counter.lowest)).poll():
        record = entry.record
        last_ns, total = max(last_ns, record.time_ns), entry.ordinal + 1
        if isinstance(record, (End, Attempt)):
            end = record if isinstance(record, End) else None
        elif isinstance(record, Event):
            events.append(record)
        counter.count(entry)
    deliveries = counter.deliveries()
    return RunSummary(
        run_dir=str(run_dir),
        facts=facts,
        status=status_of(attempts, end, deliveries, silent_s(run_dir)),
        attempts=len(attempts),
        last_ns=last_ns,
        records=total,
        deliveries=deliveries,
        losses=losses_of(events),
    )


def _start(heads: Sequence[Head], ordinal: int) -> Position | None:
    """Return the last segment, or an earlier one with records that some backend lacks."""
    head = head_before(heads, ordinal)
    return head.position if head else None


def attempts_of(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return each attempt once, although every segment begins with its attempt."""
    return [attempt for attempt, _ in itertools.groupby(attempts)]


def silent_s(run_dir: Path) -> float:
    """Return seconds since the journal was modified. A live training process touches it at least each minute."""
    listing = segments(run_dir)
    try:
        return time.time() - listing[-1][1].stat().st_mtime if listing else math.inf
    except FileNotFoundError:
        return math.inf


def status_of(
    attempts: Sequence[Attempt], end: End | None, deliveries: Sequence[Delivery], silent_s: float
) -> RunStatus:
    """Return the status of a run.

    A run without an end is KILLED when its process is gone. If that cannot be checked from this host, it is KILLED when
    its forwarder closed it as such, or after a long silence.
    """
    if end is not None:
        return end.status
    if not attempts:
        return "UNKNOWN"
    last = attempts[-1]
    alive = is_alive(last.host, last.pid, last.time_ns)
    if alive is not None:
        return "RUNNING" if alive else "KILLED"
    if any(d.status == "KILLED" and d.waiting == 0 for d in deliveries):
        return "KILLED"
    if silent_s <= RUNNING_SILENCE_S:
        return "RUNNING"
    return "KILLED" if silent_s > KILLED_SILENCE_S else "UNKNOWN"
