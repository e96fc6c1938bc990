"""History of a run for estimates: attempts, jobs, and the points of each metric, from the index."""

from __future__ import annotations

import msgspec

from ranklog.model.record import Coverage
from ranklog.view.index.series import Rows, rows_of
from ranklog.view.index.tables import Tables
from ranklog.view.records import RunRecords


class Point(msgspec.Struct, frozen=True, gc=False):
    """One value of a metric.

    Attributes:
        step: The user's step.
        value: The value; NaN and infinities are kept.
        time_ns: Time of the call.
        attempt: The attempt that logged it.
        op: Its reduction; None for a value of one rank.
        coverage: The ranks that contributed, if it is reduced.
    """

    step: int
    value: float
    time_ns: int
    attempt: int
    op: str | None
    coverage: Coverage | None


class History:
    """Points of the metrics of a run, with its attempts and jobs.

    Args:
        tables: Tables of the run.

    Attributes:
        attempts: Attempts in order.
        jobs: Facts about the job of each attempt, by attempt number.
        last_ns: Time of the last record of each attempt, by attempt number.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.attempts = RunRecords(tables).attempts
        self.jobs = RunRecords(tables).jobs
        self.last_ns = tables.last_ns

    @property
    def names(self) -> list[str]:
        """Names of the metrics, sorted."""
        return sorted(self._tables.sources)

    def series(self, name: str) -> list[Point]:
        """Return the points of a metric by step; empty for an unknown name."""
        return self._points(rows_of(self._tables, name)) if name in self._tables.sources else []

    def superseded(self, name: str) -> list[Point]:
        """Return the superseded points of a metric, by step and in the order of logging."""
        if name not in self._tables.sources or self._tables.all_rows_count(name):
            return []
        rows = rows_of(self._tables, name, superseded=True)
        return self._points(rows.take(rows.superseded))

    def _points(self, rows: Rows) -> list[Point]:
        ops = [group.op for group in self._tables.groups]
        columns = (column.tolist() for column in rows[:-1])
        return [
            Point(step, value, time_ns, attempt, ops[source], Coverage(*covered) if covered[1] else None)
            for step, time_ns, value, attempt, source, *covered in zip(*columns, strict=True)
        ]
