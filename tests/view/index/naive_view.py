"""What a journal says, by reading it entry by entry: the reference for what the index answers."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from ranklog.journal.heads import read_heads
from ranklog.journal.layout import read_facts
from ranklog.journal.reader import JournalReader
from ranklog.journal.superseded import Rewinds
from ranklog.model.facts import JobFacts
from ranklog.model.record import Attempt, Coverage, End, Entry, Event, Metrics
from ranklog.view.deliveries import DeliveryCounter
from ranklog.view.history import Point
from ranklog.view.summary import RunSummary, attempts_of, losses_of, silent_s, status_of


class MetricRow(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of one metric."""

    name: str
    points: int
    last: float
    last_step: int
    min: float
    max: float
    op: str | None
    coverage: Coverage | None
    superseded: int


class NaiveView:
    """One run, read entry by entry."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        facts = read_facts(run_dir)
        self.attempts: list[Attempt] = attempts_of(head.attempt for head in read_heads(run_dir))
        self.jobs: dict[int, JobFacts] = {}
        self.last_ns: dict[int, int] = {}
        self.events: list[Event] = []
        self.end: End | None = None
        self._series: dict[str, dict[int, Point]] = {}
        self._superseded: dict[str, list[Point]] = {}
        self._to: dict[tuple[str, int], int] = {}
        self._rewinds = Rewinds()
        self._attempt = 0
        counter = DeliveryCounter(run_dir, self.attempts)
        reader = JournalReader(run_dir)
        last_ns, total = facts.created_ns, 0
        for entry in reader.poll():
            self._take(entry)
            counter.count(entry)
            last_ns, total = max(last_ns, entry.record.time_ns), entry.ordinal + 1
        deliveries = counter.deliveries()
        self.summary = RunSummary(
            run_dir=str(run_dir),
            facts=facts,
            status=status_of(self.attempts, self.end, deliveries, silent_s(run_dir)),
            attempts=len(self.attempts),
            last_ns=last_ns,
            records=total,
            deliveries=deliveries,
            losses=losses_of(self.events),
        )

    @property
    def names(self) -> list[str]:
        """Names of the metrics, sorted."""
        return sorted(self._series)

    def series(self, name: str) -> list[Point]:
        """Return the points of a metric by step; empty for an unknown name."""
        points = self._series.get(name, {})
        return [points[step] for step in sorted(points)]

    def superseded(self, name: str) -> list[Point]:
        """Return the superseded points of a metric, by step and in the order of logging."""
        return sorted(self._superseded.get(name, []), key=lambda point: point.step)

    def metrics(self) -> list[MetricRow]:
        """Return one row per metric, by name."""
        return [self._row(name) for name in self.names]

    def _row(self, name: str) -> MetricRow:
        points = self.series(name)
        numbers = [point.value for point in points if not math.isnan(point.value)] or [math.nan]
        covered = [point.coverage for point in points if point.coverage is not None]
        return MetricRow(
            name=name,
            points=len(points),
            last=points[-1].value,
            last_step=points[-1].step,
            min=min(numbers),
            max=max(numbers),
            op=points[-1].op,
            coverage=min(covered, key=lambda each: each.share, default=None),
            superseded=len(self._superseded.get(name, ())),
        )

    def _take(self, entry: Entry) -> None:
        record = entry.record
        if isinstance(record, Attempt) and (record.attempt != self._attempt or self.end is not None):
            # The run resumed after an end.
            self._attempt, self.end = record.attempt, None
        self.last_ns[self._attempt] = max(self.last_ns.get(self._attempt, 0), record.time_ns)
        if isinstance(record, Metrics):
            self._take_metrics(record)
        elif isinstance(record, Event):
            self.events.append(record)
        elif isinstance(record, End):
            self.end = record
        elif isinstance(record, JobFacts):
            self.jobs[self._attempt] = record

    def _take_metrics(self, record: Metrics) -> None:
        for name in self._rewinds.add(record.values, step=record.step, attempt=self._attempt):
            points = self._series.get(name, {})
            for step in [step for step in points if step >= record.step]:
                self._superseded.setdefault(name, []).append(points.pop(step))
        for name, value in record.values.items():
            points = self._series.setdefault(name, {})
            point = Point(record.step, value, record.time_ns, self._attempt, record.op, record.coverage)
            before = points.get(record.step)
            if before is not None and before.attempt == self._attempt and not self._to[name, record.step] & record.to:
                # A call without a step, with the step number of another backend. The number in place is never lower.
                self._superseded.setdefault(name, []).append(point)
                continue
            if before is not None:
                self._superseded.setdefault(name, []).append(before)
            points[record.step] = point
            self._to[name, record.step] = record.to
