"""What a list of runs shows of one, cheaply: heads of the segments, the last segment, the cursors.

Nothing here raises for what a file holds: a run whose facts cannot be read is left out by `find_runs`, damage
shows as damage. The status is the one in the journal; without one, the trainer's process is looked for, or, on another
host, its sign of life: the time of change of its journal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ranklog.journal.layout import read_facts, segments
from ranklog.journal.liveness import is_alive
from ranklog.journal.reader import Head, JournalReader, Position, head_before, read_heads
from ranklog.model.losses import LOSSES
from ranklog.model.record import Attempt, End, Event, Record, RunFacts
from ranklog.view.deliveries import Delivery, Progress

FRESH_S = 180.0
LOST_S = 900.0

RunStatus = Literal["FINISHED", "FAILED", "KILLED", "RUNNING", "UNKNOWN"]


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of runs.

    Attributes:
        run_dir: The run directory.
        facts: What never changes about it.
        status: How it ended, or that it has not.
        attempts: Number of attempts so far.
        last_ns: Wall-clock time of the last record.
        records: Records in the journal.
        deliveries: How far each backend is; `accepted` counts only what had to be read for `waiting`.
        losses: What the run itself says that it lost, as far as it was read: the last segment at least.
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
    """What a run says that it lost, the last word on each."""
    found = {r.code: r.text for r in records if isinstance(r, Event) and r.code in LOSSES}
    return tuple(found.values())


def summarise(run_dir: Path) -> RunSummary:
    """Summarise a run.

    Raises:
        RunNotFoundError: when the directory is no run.
    """
    facts = read_facts(run_dir)
    heads = read_heads(run_dir)
    last_ns, end, total = facts.created_ns, None, 0
    attempts = attempts_of(heads)
    progress = Progress(run_dir, attempts)
    events: list[Record] = []
    for entry in JournalReader(run_dir, _start(heads, progress.lowest)).poll():
        record = entry.record
        last_ns, total = max(last_ns, record.time_ns), entry.ordinal + 1
        if isinstance(record, (End, Attempt)):
            end = record if isinstance(record, End) else None
        elif isinstance(record, Event):
            events.append(record)
        progress.count(entry)
    deliveries = progress.deliveries()
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
    """The last segment, or an earlier one that has records which some backend still lacks."""
    head = head_before(heads, ordinal)
    return head.position if head else None


def attempts_of(heads: Sequence[Head]) -> list[Attempt]:
    """The attempts, each once, though every one of its segments begins with it."""
    found: list[Attempt] = []
    for head in heads:
        if not found or head.attempt != found[-1]:
            found.append(head.attempt)
    return found


def silent_s(run_dir: Path) -> float:
    """Seconds since the last sign of life, which a live trainer gives at least each minute."""
    listing = segments(run_dir)
    try:
        return time.time() - listing[-1][1].stat().st_mtime if listing else math.inf
    except FileNotFoundError:
        return math.inf


def status_of(
    attempts: Sequence[Attempt], end: End | None, deliveries: Sequence[Delivery], silent_s: float
) -> RunStatus:
    """How the run ended; one without an end is killed when its process is gone, or silent where that cannot be seen.

    Its own forwarder, which closed it as killed, has seen it.
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
    if silent_s <= FRESH_S:
        return "RUNNING"
    return "KILLED" if silent_s > LOST_S else "UNKNOWN"
