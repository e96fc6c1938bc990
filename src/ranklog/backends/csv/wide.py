"""The metrics of a run as one CSV table, with one row per step and one column per metric. Pure.

Of several values of a metric at one step, the last one counts. Values that a later attempt superseded do not count. A
cell without a value is empty; NaN is ``nan``.
"""

from __future__ import annotations

from ranklog.backends.csv.rows import clock, to_csv
from ranklog.journal.superseded import Rewinds
from ranklog.model.record import Metrics

MAX_VALUES = 1_000_000
"""There is no table with more values, because memory holds all of it."""


class WideTable:
    """Collects the table.

    Args:
        rewinds: Decides which points are superseded; it has seen all metrics of the run.

    Attributes:
        too_large: Whether the run has more than `MAX_VALUES` values.
    """

    def __init__(self, rewinds: Rewinds) -> None:
        self._rewinds = rewinds
        self._names: dict[str, None] = {}
        self._rows: dict[int, dict[str, float]] = {}
        self._times: dict[int, int] = {}
        self._count = 0
        self.too_large = False

    def add(self, record: Metrics, attempt: int) -> None:
        """Add a record."""
        if self.too_large:
            return
        for name, value in record.values.items():
            if self._rewinds.is_superseded(name, step=record.step, attempt=attempt):
                continue
            row = self._rows.setdefault(record.step, {})
            self._count += name not in row
            self._names.setdefault(name)
            row[name] = value
            self._times[record.step] = record.time_ns
        if self._count > MAX_VALUES:
            self.too_large = True
            self._rows.clear()

    def csv(self) -> bytes:
        """Return the table. Its first columns are ``step`` and ``time``; a metric with that name is ``metric:step``."""
        head = ["step", "time", *(f"metric:{name}" if name in ("step", "time") else name for name in self._names)]
        rows = (
            [step, clock(self._times[step]), *(repr(float(row[name])) if name in row else "" for name in self._names)]
            for step, row in sorted(self._rows.items())
        )
        return to_csv([head, *rows])
