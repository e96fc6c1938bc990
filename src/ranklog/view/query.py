"""View of one run with everything in its journal, read once: `RunView`.

Guarantees: for one metric and step, the record that was logged last counts, so a correction replaces the earlier value.
Calls without a step may have different step numbers per backend; the numbers of the backend that takes most calls
count. An attempt that goes back to an earlier step supersedes the points of earlier attempts from there on
(`ranklog.journal.superseded`). Superseded points are kept separately, not hidden. Damage of the journal is listed in
`damage` and affects nothing else.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from ranklog.journal.heads import read_heads
from ranklog.journal.layout import read_facts
from ranklog.journal.reader import Damage, JournalReader
from ranklog.journal.superseded import Rewinds
from ranklog.model.facts import JobFacts, RankFacts
from ranklog.model.record import LAST_LINES, Attempt, Coverage, End, Entry, Event, Item, Metrics, Params
from ranklog.model.spec import Scalar
from ranklog.view.deliveries import DeliveryCounter
from ranklog.view.summary import RunSummary, attempts_of, losses_of, silent_s, status_of


class Point(msgspec.Struct, frozen=True, gc=False):
    """One value of a metric.

    Attributes:
        step: The user's step.
        value: The value; NaN and infinities are kept.
        time_ns: Time of the call.
        attempt: The attempt that logged it.
        op: Its reduction; None for a value of one rank.
        coverage: The ranks that contributed, if it is reduced.
        to: Its backends, as a bit mask over the attempt's list.
    """

    step: int
    value: float
    time_ns: int
    attempt: int
    op: str | None
    coverage: Coverage | None
    to: int


class MetricRow(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of one metric.

    Attributes:
        name: Name given by the user.
        points: Number of steps that have a value.
        last: Value at the highest step.
        last_step: That step.
        min: Lowest value that is a number; NaN if there is none.
        max: Highest value that is a number; NaN if there is none.
        op: Reduction of the value at the highest step; None for a value of one rank.
        coverage: Lowest coverage of all its points; None for values of one rank.
        superseded: Number of points that a later record of the same step or a later attempt replaced.
    """

    name: str
    points: int
    last: float
    last_step: int
    min: float
    max: float
    op: str | None
    coverage: Coverage | None
    superseded: int


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """One item without its content."""

    ordinal: int
    kind: str
    name: str
    step: int
    rank: int
    media: str
    files: int
    size: int
    time_ns: int


class RunView:
    """One run, as its journal is now.

    Args:
        run_dir: The run directory.

    Attributes:
        run_dir: The run directory.
        summary: The line in a list of runs.
        attempts: Attempts in order.
        ranks: Facts of the ranks of the last attempt, by rank.
        jobs: Facts about the job of each attempt, by attempt number.
        last_ns: Time of the last record of each attempt, by attempt number.
        params: Parameters. A later value of a name replaces the earlier one.
        items: Logged items: everything except metrics and parameters.
        events: Events of the run.
        last_lines: Last output of processes that ended badly, by rank.
        end: Record that ended the last attempt; None if there is none.
        damage: Parts of the journal that cannot be read.

    Raises:
        RunNotFoundError: the directory is not a run.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        facts = read_facts(run_dir)
        self.attempts: list[Attempt] = attempts_of(read_heads(run_dir))
        self.ranks: dict[int, RankFacts] = {}
        self.jobs: dict[int, JobFacts] = {}
        self.last_ns: dict[int, int] = {}
        self.params: dict[str, Scalar] = {}
        self.items: list[ItemRow] = []
        self.events: list[Event] = []
        self.last_lines: dict[int, str] = {}
        self.end: End | None = None
        self._series: dict[str, dict[int, Point]] = {}
        self._superseded: dict[str, list[Point]] = {}
        self._rewinds = Rewinds()
        self._attempt = 0
        counter = DeliveryCounter(run_dir, self.attempts)
        reader = JournalReader(run_dir)
        last_ns, total = facts.created_ns, 0
        for entry in reader.poll():
            self._take(entry)
            counter.count(entry)
            last_ns, total = max(last_ns, entry.record.time_ns), entry.ordinal + 1
        self.damage: list[Damage] = [*reader.damage, *([reader.tail] if reader.tail else [])]
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
            self.ranks.clear()
        self.last_ns[self._attempt] = max(self.last_ns.get(self._attempt, 0), record.time_ns)
        if isinstance(record, Metrics):
            self._take_metrics(record)
        elif isinstance(record, Params):
            self.params.update(record.values)
        elif isinstance(record, Item):
            self.items.append(_item_row(entry.ordinal, record))
            if record.name.startswith(LAST_LINES) and record.files[0].data is not None:
                self.last_lines[record.rank] = record.files[0].data.decode(errors="replace")
        elif isinstance(record, Event):
            self.events.append(record)
        elif isinstance(record, End):
            self.end = record
        elif isinstance(record, RankFacts):
            self.ranks[record.rank] = record
        elif isinstance(record, JobFacts):
            self.jobs[self._attempt] = record

    def _take_metrics(self, record: Metrics) -> None:
        for name in self._rewinds.add(record.values, step=record.step, attempt=self._attempt):
            points = self._series.get(name, {})
            for step in [step for step in points if step >= record.step]:
                self._superseded.setdefault(name, []).append(points.pop(step))
        for name, value in record.values.items():
            points = self._series.setdefault(name, {})
            point = Point(record.step, value, record.time_ns, self._attempt, record.op, record.coverage, record.to)
            before = points.get(record.step)
            if before is not None and before.attempt == self._attempt and not before.to & record.to:
                # A call without a step, with the step number of another backend. The number in place is never lower.
                self._superseded.setdefault(name, []).append(point)
                continue
            if before is not None:
                self._superseded.setdefault(name, []).append(before)
            points[record.step] = point


def _item_row(ordinal: int, item: Item) -> ItemRow:
    return ItemRow(
        ordinal=ordinal,
        kind=item.kind,
        name=item.name,
        step=item.step,
        rank=item.rank,
        media=item.media,
        files=len(item.files),
        size=sum(file.size for file in item.files),
        time_ns=item.time_ns,
    )
