"""Delivers one run to all its backends, each through its own `Feed`, so that errors of one do not affect the others.

In: a run directory, which may still grow. Out: records in the backends, cursors in the directory. The pump starts no
threads. `run_once` makes one step with each feed. `run` repeats that until nothing is left, as ``ranklog sync`` needs
it. The live forwarder (`ranklog.delivery.thread`) drives the same feeds with one thread each.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from ranklog.abc import Backend
from ranklog.backends.registry import create_backend
from ranklog.delivery.feed import Feed
from ranklog.delivery.lock import DeliveryLock
from ranklog.delivery.step import Finish, Step
from ranklog.journal.cursor import adopt_cursors
from ranklog.journal.heads import read_heads
from ranklog.journal.targets import Target, target_of
from ranklog.model.identity import members

TRIES = 3
THROTTLED_TRIES = 30


class Pump:
    """Delivers one run.

    Args:
        run_dir: The run directory.
        console: Where the console backend prints.
        targets: The backends; None for those of the run's attempts.
        create: Creates a backend by name.
        clock: Monotonic seconds.

    Raises:
        LockedError: another process delivers this run.
        OSError: the run directory cannot be written.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        console: TextIO | None = None,
        targets: Sequence[Target] | None = None,
        create: Callable[[str], Backend] = create_backend,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = DeliveryLock(run_dir)
        self._lock.ensure()
        try:
            heads = read_heads(run_dir)
            self.attempt = heads[-1].attempt if heads else None
            own = members(head.attempt for head in heads)
            adopt_cursors(run_dir, own)
            if targets is None:
                targets = [target_of(member) for member in own]
            out = console if console is not None else sys.stdout
            self.feeds = [
                Feed(run_dir, target, create=create, console=out, guard=self._lock.ensure, clock=clock)
                for target in targets
            ]
        except BaseException:
            self._lock.release()
            raise

    def run_once(self, finish: Finish | None = None) -> list[Step]:
        """Make one step with each feed."""
        return [feed.step(finish) for feed in self.feeds]

    def run(self, finish: Finish, *, tries: int = TRIES, stop: threading.Event | None = None) -> Iterator[Feed]:
        """Deliver everything; yields a feed after each step, and gives it up after ``tries`` failures in a row.

        A server that asks to retry later is retried `THROTTLED_TRIES` times in a row.
        """
        stop = stop or threading.Event()
        left = list(self.feeds)
        while left and not stop.is_set():
            due_s = []
            for feed in tuple(left):
                step = feed.step(finish)
                if step.done or step.hopeless or feed.failures >= tries or feed.throttled >= THROTTLED_TRIES:
                    left.remove(feed)
                elif step.due_s is not None:
                    due_s.append(step.due_s)
                yield feed
            if left and len(due_s) == len(left):
                stop.wait(max(0.0, min(due_s) - self._clock()))

    def close(self) -> None:
        """Close backends that are still open and release the lock; may be called twice."""
        for feed in self.feeds:
            feed.release()
        self._lock.release()
