"""``ranklog sync --watch``: looks again and again for what runs have that their backends lack, until it is interrupted.

Meant for a login node, for jobs on compute nodes without internet: all that the two share is the file system. A run's
backends stay open from one look to the next while it grows; they are closed with its end. A look costs a list of
files where nothing has changed. Runs that another process delivers are left to it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from ranklog.cli.console import clean
from ranklog.cli.sync.destinations import Destination
from ranklog.cli.sync.outcome import OVER, Outcome, labels_of, merge_kept, outcome_of, targets_for
from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.spill_file import FOLDER
from ranklog.model.errors import RunNotFoundError
from ranklog.view.summary import RunStatus, summarise

LOOKS_A_QUESTION = 10
ASK_AGAIN_S = 60.0
STEPS_A_LOOK = 50


class Followed:
    """One run that is followed.

    Args:
        run_dir: The run directory.
        destinations: Where to; none for its own backends.
        console: Where the console backend prints.
        ask_again_s: Seconds after which a run that does not change is asked whether its process is still there.
    """

    def __init__(self, run_dir: Path, destinations: Sequence[Destination], console: TextIO, ask_again_s: float) -> None:
        self.run_dir = run_dir
        self._ask_again_s = ask_again_s
        self._destinations = destinations
        self._console = console
        self._pump: Pump | None = None
        self._seen: frozenset[tuple[str, int]] = frozenset()
        self._status: RunStatus = "UNKNOWN"
        self._asked_s = float("-inf")
        self._attempts = 0
        self._settled = False
        self._merge_trouble: str | None = None
        self._said = ""

    def look(self, stop: threading.Event) -> None:
        """Deliver what is new."""
        files = _files(self.run_dir)
        changed = files != self._seen
        if self._settled and not changed:
            return
        try:
            self._deliver(stop, ask=changed or time.monotonic() - self._asked_s > self._ask_again_s)
        except LockedError:
            self._pump = None  # the run's own forwarder, or another sync: they say how it goes
            return
        except (OSError, RunNotFoundError) as error:
            self._say(f"cannot be delivered: {error}")
            return
        self._seen = files

    def _deliver(self, stop: threading.Event, *, ask: bool) -> None:
        if ask:
            before = summarise(self.run_dir)
            self._status, self._asked_s = before.status, time.monotonic()
            if before.attempts != self._attempts:
                self.close()  # a new attempt may have other backends
            self._attempts = before.attempts
        if self._pump is None:
            targets = targets_for(self.run_dir, self._destinations)
            self._pump = Pump(self.run_dir, targets=targets, console=self._console)
        if ask:
            self._merge_trouble = merge_kept(self.run_dir, before)
        over = self._status in OVER
        finish = Finish("KILLED" if self._status == "KILLED" else None) if over else None
        left = list(self._pump.feeds)
        for _ in range(STEPS_A_LOOK):  # not without end: other runs wait
            if not left or stop.is_set():
                break
            steps = [(feed, feed.step(finish)) for feed in left]
            left = [feed for feed, step in steps if step.moved]
            for feed, step in steps:
                if step.failed:
                    self._say(f"cannot deliver to {feed.target.label}: {feed.cursor.error}")
        self._settled = over and not stop.is_set() and all(feed.step(finish).done for feed in self._pump.feeds)
        if self._settled:
            self._say(f"{self._status}, delivered")
            self.close()

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {clean(self.run_dir.name)}: {clean(text)}\n")

    def close(self) -> None:
        """Let go of the run; may be called twice."""
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.close()

    def outcome(self) -> Outcome:
        """How it stands."""
        labels = labels_of(targets_for(self.run_dir, self._destinations))
        return outcome_of(summarise(self.run_dir), labels, self._merge_trouble)


def follow(
    choose: Callable[[], Sequence[Path]], destinations: Sequence[Destination], *, every_s: float, console: TextIO
) -> list[Outcome]:
    """Follow runs until SIGINT or SIGTERM; returns how they stand then.

    Args:
        choose: The run directories that there are now.
        destinations: Where to; none for the runs' own backends.
        every_s: Seconds between two looks.
        console: Where the console backend prints.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    runs: dict[Path, Followed] = {}
    ask_again_s = min(ASK_AGAIN_S, LOOKS_A_QUESTION * every_s)
    try:
        while not stop.is_set():
            for run_dir in _there(choose):
                if stop.is_set():
                    break
                runs.setdefault(run_dir, Followed(run_dir, destinations, console, ask_again_s)).look(stop)
            stop.wait(every_s)
    finally:
        for run in runs.values():
            run.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return [run.outcome() for run in runs.values()]


def _there(choose: Callable[[], Sequence[Path]]) -> Sequence[Path]:
    try:
        return choose()
    except RunNotFoundError:
        return []  # there will be runs


def _files(run_dir: Path) -> frozenset[tuple[str, int]]:
    """Names and sizes of what a run grows by."""
    found = [*run_dir.glob("journal-*.rlj"), *(run_dir / FOLDER).glob("*")]
    return frozenset((path.name, path.stat().st_size) for path in found)
