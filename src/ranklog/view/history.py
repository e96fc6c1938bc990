"""History of a run for estimates: attempts, jobs, and the points of each metric, from the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ranklog.model.facts import JobFacts
from ranklog.model.record import Attempt, Coverage
from ranklog.view.index.series import Rows, rows_of
from ranklog.view.index.tables import Tables
from ranklog.view.query import Point, RunView


class TableHistory:
    """The part of a `RunView` that estimates need, from the tables of an index.

    Args:
        tables: Tables of the run.
        attempts: Attempts in order.
        jobs: Facts about the job of each attempt, by attempt number.

    Attributes:
        last_ns: Time of the last record of each attempt, by attempt number.
        names: Names of the metrics, sorted.
    """

    def __init__(self, tables: Tables, attempts: Sequence[Attempt], jobs: Mapping[int, JobFacts]) -> None:
        self._tables = tables
        self.attempts = attempts
        self.jobs = jobs
        self.last_ns = tables.last_ns
        self.names = sorted(tables.sources)

    def series(self, name: str) -> list[Point]:
        """Return the points of a metric that count, by step."""
        return self._points(rows_of(self._tables, name))

    def superseded(self, name: str) -> list[Point]:
        """Return the superseded points of a metric, by step."""
        if self._tables.all_rows_count(name):
            return []
        rows = rows_of(self._tables, name, superseded=True)
        return self._points(rows.take(rows.superseded))

    def _points(self, rows: Rows) -> list[Point]:
        ops = [group.op for group in self._tables.groups]
        columns = (column.tolist() for column in rows[:-1])
        return [
            Point(step, value, time_ns, attempt, ops[source], Coverage(*covered) if covered[1] else None, to=-1)
            for step, time_ns, value, attempt, source, *covered in zip(*columns, strict=True)
        ]


History = RunView | TableHistory
"""What estimates read."""
