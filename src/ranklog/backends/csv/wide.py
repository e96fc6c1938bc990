"""The metrics of a run as one table, a row a step and a column a name. Pure.

In: metrics with the attempt that logged them. Out: CSV. Of several values of a name at a step the last one counts, and
none that a later attempt superseded. A cell without a value is empty; a value that is not a number is ``nan``.
"""

from __future__ import annotations

from ranklog.backends.csv.rows import clock, to_csv
from ranklog.journal.superseded import Rewinds
from ranklog.model.record import Metrics

MOST_VALUES = 1_000_000
"""Beyond that the table is not made: it is held in memory as a whole."""


class Wide:
    """Collects the table.

    Args:
        rewinds: Knows all metrics of the run already.

    Attributes:
        too_large: Whether there are more values than it holds.
    """

    def __init__(self, rewinds: Rewinds) -> None:
        self._rewinds = rewinds
        self._names: dict[str, None] = {}
        self._rows: dict[int, dict[str, float]] = {}
        self._times: dict[int, int] = {}
        self._count = 0
        self.too_large = False

    def take(self, record: Metrics, attempt: int) -> None:
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
        if self._count > MOST_VALUES:
            self.too_large = True
            self._rows.clear()

    def csv(self) -> bytes:
        """The table; the columns ``step`` and ``time`` come first, a metric of such a name is ``metric:step``."""
        head = ["step", "time", *(f"metric:{name}" if name in ("step", "time") else name for name in self._names)]
        rows = (
            [step, clock(self._times[step]), *(repr(float(row[name])) if name in row else "" for name in self._names)]
            for step, row in sorted(self._rows.items())
        )
        return to_csv([head, *rows])
