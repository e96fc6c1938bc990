"""View of one run with everything in its journal, read once: `RunView`. Its attributes are as they were then.

Guarantees: for one metric and step, the record that was logged last counts, so a correction replaces the earlier value.
Calls without a step may have different step numbers per backend; the numbers of the backend that takes most calls
count. An attempt that goes back to an earlier step supersedes the points of earlier attempts from there on
(`ranklog.journal.superseded`). Superseded points are kept separately, not hidden. Damage of the journal is listed in
`damage` and affects nothing else.
"""

from __future__ import annotations

from pathlib import Path

from ranklog.view.deliveries import DeliveryCounter
from ranklog.view.history import History
from ranklog.view.index.run_index import RunIndex
from ranklog.view.metrics.table import MetricSummary, summarise_metrics
from ranklog.view.records import RunRecords
from ranklog.view.summary import RunSummary, losses_of, silent_s, status_of


class RunView(History):
    """One run, as its journal is now.

    Args:
        run_dir: The run directory.
        index: Index of the run, which is brought up to date and saved. Default: a new one in memory.

    Attributes:
        run_dir: The run directory.
        summary: The line in a list of runs.
        ranks: Facts of the ranks of the last attempt, by rank.
        params: Parameters. A later value of a name replaces the earlier one.
        items: Logged items: everything except metrics and parameters.
        events: Events of the run.
        last_lines: Last output of processes that ended badly, by rank.
        end: Record that ended the last attempt; None if there is none.
        damage: Parts of the journal that cannot be read.

    Raises:
        RunNotFoundError: the directory is not a run.
    """

    def __init__(self, run_dir: Path, *, index: RunIndex | None = None) -> None:
        self.run_dir = run_dir
        index = RunIndex(run_dir, cached=False) if index is None else index
        index.refresh()
        super().__init__(index.tables)
        records = RunRecords(index.tables)
        self.end, self.ranks, self.params, self.items = records.end, records.ranks, records.params, records.items
        self.events, self.last_lines, self.damage = records.events, records.last_words, index.damage
        counter = DeliveryCounter(run_dir, self.attempts)
        counter.count_tables(index.tables)
        deliveries = counter.deliveries()
        self.summary = RunSummary(
            run_dir=str(run_dir),
            facts=index.facts,
            status=status_of(self.attempts, self.end, deliveries, silent_s(run_dir)),
            attempts=len(self.attempts),
            last_ns=max([index.facts.created_ns, *self.last_ns.values()]),
            records=index.tables.records,
            deliveries=deliveries,
            losses=losses_of(self.events),
        )
        index.save()

    def metrics(self) -> list[MetricSummary]:
        """Return one row per metric, by name."""
        return summarise_metrics(self._tables)
