"""``ranklog sync --watch``: keep delivering new records of runs until interrupted.

For a login node, while jobs run on compute nodes without internet: the two share only the file system. The backends of
a run stay open between checks while it grows, and are closed when it ends. A check of an unchanged run only lists its
files. Runs that another process delivers are skipped.

Guarantees: a run directory that cannot be read, or whose file system is not mounted, is reported and checked again. It
affects no other run. A run that is removed after its delivery still counts as delivered.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ranklog.backends.shared.delivery_log import describe
from ranklog.cli.console import clean
from ranklog.cli.sync.destinations import Destination
from ranklog.cli.sync.outcome import Outcome, labels_of, merge_spills, outcome_of, targets_for, unreachable
from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.spill_file import FOLDER
from ranklog.model.errors import InvalidArgumentError, RunNotFoundError
from ranklog.view.summary import ENDED, RunStatus, summarise

CHECKS_PER_STATUS = 10
STATUS_EVERY_S = 60.0
STEPS_PER_CHECK = 50


class WatchedRun:
    """One run that is delivered while it grows.

    Args:
        run_dir: The run directory.
        destinations: Where to deliver; none for its own backends.
        console: Where the console backend prints.
        status_every_s: Seconds after which the status of an unchanged run is determined again.
    """

    def __init__(
        self, run_dir: Path, destinations: Sequence[Destination], console: TextIO, status_every_s: float
    ) -> None:
        self.run_dir = run_dir
        self._status_every_s = status_every_s
        self._destinations = destinations
        self._console = console
        self._pump: Pump | None = None
        self._seen: frozenset[tuple[str, int]] = frozenset()
        self._status: RunStatus = "UNKNOWN"
        self._status_s = float("-inf")
        self._attempts = 0
        self._settled = False
        self._last_outcome: Outcome | None = None
        self._merge_problem: str | None = None
        self._last_message = ""

    def check(self, stop: threading.Event) -> None:
        """Deliver new records. Never raises."""
        try:
            files = _files(self.run_dir)
            changed = files != self._seen
            if self._settled and not changed:
                return
            self._deliver(stop, refresh=changed or time.monotonic() - self._status_s > self._status_every_s)
        except LockedError:
            return  # the run's forwarder, or another sync, reports its own errors
        except Exception as error:  # a damaged directory may give any error, and other runs wait
            self._print(f"cannot be delivered: {describe(error)}")
            return
        self._seen = files

    def _deliver(self, stop: threading.Event, *, refresh: bool) -> None:
        if refresh:
            before = summarise(self.run_dir)
            self._status, self._status_s = before.status, time.monotonic()
            if before.attempts != self._attempts:
                self.close()  # a new attempt may have other backends
            self._attempts = before.attempts
        if self._pump is None:
            targets = targets_for(self.run_dir, self._destinations)
            self._pump = Pump(self.run_dir, targets=targets, console=self._console)
        if refresh:
            self._merge_problem = merge_spills(self.run_dir, before)
        over = self._status in ENDED
        finish = Finish("KILLED" if self._status == "KILLED" else None) if over else None
        left = list(self._pump.feeds)
        for _ in range(STEPS_PER_CHECK):  # limited, because other runs wait
            if not left or stop.is_set():
                break
            steps = [(feed, feed.step(finish)) for feed in left]
            left = [feed for feed, step in steps if step.moved]
            for feed, step in steps:
                if step.failed:
                    self._print(f"cannot deliver to {feed.target.label}: {feed.cursor.error}")
        self._settled = over and not stop.is_set() and all(feed.step(finish).done for feed in self._pump.feeds)
        if self._settled:
            self._print(f"{self._status}, delivered")
            self.close()
            self._last_outcome = self.outcome()

    def _print(self, text: str) -> None:
        if text != self._last_message:
            self._last_message = text
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {clean(self.run_dir.name)}: {clean(text)}\n")

    def close(self) -> None:
        """Close the backends; may be called twice."""
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.close()

    def outcome(self) -> Outcome:
        """Return the current result, or the last one if the run was removed after its delivery. Never raises."""
        if self._last_outcome is not None and not self.run_dir.exists():
            return self._last_outcome
        try:
            labels = labels_of(targets_for(self.run_dir, self._destinations))
            return outcome_of(summarise(self.run_dir), labels, self._merge_problem)
        except Exception as error:  # as in `check`
            return unreachable(self.run_dir, error)


def watch_runs(
    choose: Callable[[], Sequence[Path]], destinations: Sequence[Destination], *, every_s: float, console: TextIO
) -> list[Outcome]:
    """Deliver runs while they grow, until SIGINT or SIGTERM; returns the results at that time.

    Args:
        choose: Returns the current run directories.
        destinations: Where to deliver; none for the runs' own backends.
        every_s: Seconds between two checks.
        console: Where the console backend prints.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    runs: dict[Path, WatchedRun] = {}
    status_every_s = min(STATUS_EVERY_S, CHECKS_PER_STATUS * every_s)
    try:
        while not stop.is_set():
            for run_dir in _chosen(choose, list(runs)):
                if stop.is_set():
                    break
                runs.setdefault(run_dir, WatchedRun(run_dir, destinations, console, status_every_s)).check(stop)
            stop.wait(every_s)
    finally:
        for run in runs.values():
            run.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return [run.outcome() for run in runs.values()]


def _chosen(choose: Callable[[], Sequence[Path]], known: Sequence[Path]) -> Sequence[Path]:
    """Return the current run directories; those known so far while they cannot be listed."""
    try:
        return choose()
    except (OSError, RunNotFoundError):
        return known  # runs, or the file system that they are on, may come later
    except InvalidArgumentError:
        if not known:
            raise
        return known  # a new run has a name with the same beginning


def _files(run_dir: Path) -> frozenset[tuple[str, int]]:
    """Return names and sizes of the files that grow with a run."""
    found = [*run_dir.glob("journal-*.rlj"), *(run_dir / FOLDER).glob("*")]
    sizes = {}
    for path in found:
        with suppress(FileNotFoundError):  # a spill file was renamed, or it is a link that leads nowhere
            sizes[path.name] = path.stat().st_size
    return frozenset(sizes.items())
