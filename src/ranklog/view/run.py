"""A run to look at: everything in its journal, read once and kept up to date: `Run`."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from ranklog.journal.layout import read_facts
from ranklog.journal.reader import Damage
from ranklog.model.facts import JobFacts, RankFacts
from ranklog.model.record import Attempt, Event
from ranklog.model.spec import Scalar
from ranklog.view.deliveries import Delivery, DeliveryCounter
from ranklog.view.efficiency import Efficiency, efficiency
from ranklog.view.history import History
from ranklog.view.index.run_index import RunIndex
from ranklog.view.index.shared import SharedIndex
from ranklog.view.metrics.arguments import expand, selection
from ranklog.view.metrics.drawing import draw
from ranklog.view.metrics.frame import Frame
from ranklog.view.metrics.selection import select, select_new
from ranklog.view.metrics.table import MetricSummary, summarise_metrics
from ranklog.view.notebook import CURVE_POINTS, MOST_METRICS, Curve, RunLine, run_html, runs_html
from ranklog.view.outlook import Outlook, outlook
from ranklog.view.records import RunRecords
from ranklog.view.summary import ENDED, RunStatus, silent_s, status_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POLL_S = 0.5


class Run:
    """A run, as its journal was at the last `refresh`. Get one from `ranklog.open_run`.

    Nothing is written in the run directory. What was read is kept in a cache on this node, so that opening a run again
    reads only what is new. A run reads when it is asked for the first time, and after `refresh`. It may be closed, or
    used as a context manager; that saves the cache. Several threads may use it.

    Args:
        run_dir: The run directory.

    Attributes:
        directory: The run directory.
        facts: Facts that never change: experiment, time of creation, command, ….

    Raises:
        RunNotFoundError: the directory is not a run.
    """

    def __init__(self, run_dir: Path) -> None:
        self.directory = run_dir
        self.facts = read_facts(run_dir)
        self._index = SharedIndex(run_dir)

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.facts.experiment!r}: {self.status}, {self._metric_count} metrics>"

    def _repr_html_(self) -> str:
        shown = self.names()[:MOST_METRICS]
        curves = [self._curve(metric.name) for metric in shown]
        return run_html(self.line(), shown, curves)

    def _curve(self, name: str) -> Curve:
        found = self.metrics(name, points=CURVE_POINTS).numpy()
        return Curve(found["step"], found["value"])

    def line(self) -> RunLine:
        """Return the line of the run in a list. A run that was not open is closed again, because lists may be long."""
        was_open = self._index.is_open
        line = RunLine(self.id, self.facts.experiment, self.status, len(self.attempts), self._metric_count)
        if not was_open:
            self.close()
        return line

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Save what was read, close all files, and give the cache to other processes. Using the run opens it again."""
        self._index.close()

    def refresh(self) -> bool:
        """Read what was appended since; return whether there was anything.

        Raises:
            RunNotFoundError: the run directory is gone; what was read stays.
        """
        return self._index.ask(RunIndex.refresh)

    @property
    def id(self) -> str:
        """Its run id."""
        return self.facts.run_id

    @property
    def notice(self) -> str:
        """Why nothing is kept in the cache; empty if it is."""
        return self._index.ask(lambda index: index.notice)

    @property
    def _metric_count(self) -> int:
        return self._index.ask(lambda index: len(index.tables.sources))

    @property
    def _records(self) -> RunRecords:
        return self._index.ask(lambda index: RunRecords(index.tables))

    @property
    def status(self) -> RunStatus:
        """Status of the run: that of its end, or else what its process and its journal tell."""
        return status_of(self.attempts, self._records.end, self.deliveries, silent_s(self.directory))

    @property
    def attempts(self) -> list[Attempt]:
        """Attempts in order."""
        return self._records.attempts

    @property
    def ranks(self) -> dict[int, RankFacts]:
        """Facts of the ranks of the last attempt, by rank."""
        return self._records.ranks

    @property
    def jobs(self) -> dict[int, JobFacts]:
        """Facts about the job of each attempt, by attempt number."""
        return self._records.jobs

    @property
    def params(self) -> dict[str, Scalar]:
        """Hyperparameters. A later value of a name replaces the earlier one."""
        return self._records.params

    @property
    def events(self) -> list[Event]:
        """Events of the run, in order."""
        return self._records.events

    @property
    def last_words(self) -> dict[int, str]:
        """Last output of processes that ended badly, by rank."""
        return self._records.last_words

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """State of each backend."""
        counter = DeliveryCounter(self.directory, self.attempts)
        self._index.ask(lambda index: counter.count_tables(index.tables))
        return counter.deliveries()

    @property
    def damage(self) -> list[Damage]:
        """Parts of the journal that cannot be read."""
        return self._index.ask(lambda index: index.damage)

    def outlook(self) -> Outlook:
        """Estimate how much still fits before the job's time limit."""
        return self._index.ask(lambda index: outlook(History(index.tables)))

    def efficiency(self) -> Efficiency:
        """Return what the run cost: time in the queue, lost steps, goodput."""
        return self._index.ask(lambda index: efficiency(History(index.tables)))

    def names(self, pattern: str = "*") -> list[MetricSummary]:
        """Return one row per metric, by name.

        Args:
            pattern: Names to return; ``*`` and ``?`` stand for any characters.
        """
        return self._index.ask(lambda index: summarise_metrics(index.tables, pattern))

    def metrics(
        self,
        *names: str,
        start: float | datetime | None = None,
        end: float | datetime | None = None,
        x: str = "step",
        points: int | None = None,
        smooth: float = 0.0,
        ranks: Iterable[int] | Literal["all"] | None = None,
        attempts: Literal["newest", "all"] = "newest",
    ) -> Frame:
        """Return values of metrics, one row per value, by metric and position on the axis.

        Args:
            names: Names of metrics. Default: all.
            start: First position on the axis. Default: the beginning. With ``x="time"``, a ``datetime`` with a
                time zone is allowed.
            end: Last position on the axis. Default: the end.
            x: The axis: ``"step"``; ``"time"`` in seconds since the epoch; ``"relative"``, seconds since the first
                attempt began; ``"running"``, the same without pauses between attempts; or the name of a metric, whose
                value at the same step is the position, or its last one before. Values without a position are left out.
            points: Return at most twice as many rows per metric. Among them are the first, the last, the least and the
                greatest value of the range, and those of each bucket. `Frame.buckets` counts NaN and infinities.
                Default: every value.
            smooth: Weight of an exponential moving mean over the values that count, from 0 (none) to below 1. It is
                taken before ``points``, so the value at a step does not depend on them.
            ranks: Ranks whose own series are wanted, or ``"all"``, for metrics logged with ``reduce="per_rank"`` or on
                several workers. Names are then those without ``/rank_003``.
            attempts: ``"newest"`` for the values that count; ``"all"`` for those too that a later record replaced.

        Raises:
            KeyError: a metric does not exist; names the three nearest ones. Or it has no series of these ranks.
            InvalidArgumentError: another argument has a value that is not allowed.
        """
        known = self._index.ask(lambda index: sorted(index.tables.sources))
        wanted = selection(names=known, start=start, end=end, x=x, points=points, smooth=smooth, attempts=attempts)
        series = expand(names, known, ranks)
        return self._index.ask(lambda index: select(index.tables, series, wanted, RunRecords(index.tables).attempts))

    def plot(
        self,
        *names: str,
        x: str = "step",
        smooth: float = 0.0,
        points: int = 2000,
        ranks: Collection[int] | Literal["all"] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw metrics with matplotlib. Raw values stay visible behind smoothed ones.

        Args:
            names: Names of metrics. Default: all.
            x: The axis, as in `metrics`.
            smooth: Weight of the smoothing, as in `metrics`.
            points: Draw at most twice as many points per metric.
            ranks: Ranks whose own series are drawn, as in `metrics`.
            ax: Axes to draw on, for example those of another run. Default: new ones.

        Raises:
            KeyError: a metric does not exist, or has no series of these ranks.
            InvalidArgumentError: another argument has a value that is not allowed.
            MissingExtraError: matplotlib is not installed.
        """
        smoothed = self.metrics(*names, x=x, smooth=smooth, points=points, ranks=ranks) if smooth else None
        return draw(self.metrics(*names, x=x, points=points, ranks=ranks), smoothed, x, ax)

    def follow(self, timeout: float | None = None) -> Iterator[Frame]:
        """Return an iterator over what is logged from now on, until the run ends.

        Args:
            timeout: Stop also when nothing came for so many seconds. Default: wait for the end of the run.

        Raises:
            RunNotFoundError: the run directory was deleted meanwhile.
        """
        return self._follow(self._index.ask(lambda index: index.tables.group_rows), timeout)

    def _follow(self, seen: dict[int, int], timeout: float | None) -> Iterator[Frame]:
        last = time.monotonic()
        while True:
            ended = self.status in ENDED
            self.refresh()
            frame, seen = self._index.ask(partial(_news, seen))
            if len(frame):
                last = time.monotonic()
                yield frame
            elif ended or (timeout is not None and time.monotonic() - last >= timeout):
                return
            else:
                time.sleep(_POLL_S)


def _news(seen: dict[int, int], index: RunIndex) -> tuple[Frame, dict[int, int]]:
    """Return the rows behind those that were seen, and the number of rows by group."""
    return select_new(index.tables, seen), index.tables.group_rows


class Runs(list[Run]):
    """Runs in a list; in a notebook, a table."""

    def _repr_html_(self) -> str:
        return runs_html([run.line() for run in self])
