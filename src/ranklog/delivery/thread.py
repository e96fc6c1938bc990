"""Delivers a run while it is written: a leading thread, and one thread per backend.

Used by the training process itself (``forward="thread"``) and by the forwarder process (`ranklog.delivery.__main__`).
Guarantees: no method raises. Threads sleep without polling until the journal grows or a retry is due. A backend that
hangs blocks only itself. While another process delivers the run, such as the forwarder of the previous attempt or a
``ranklog sync``, this one waits.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ranklog.abc import Backend
from ranklog.backends.registry import create_backend
from ranklog.backends.shared.delivery_log import details, note
from ranklog.delivery.feed import Feed
from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish, Step
from ranklog.journal.heads import read_heads
from ranklog.model.record import Attempt, Status

_BLOCKED_S = 1.0


class ForwardThread:
    """Live delivery of one run, which starts at once.

    Ranks: rank 0 only. Only `close`, `join` and `stop` block, up to their time limit.

    Args:
        run_dir: The run directory.
        console: Where the console backend prints.
        create: Creates a backend by name.
    """

    def __init__(
        self,
        run_dir: Path,
        console: TextIO | None = None,
        *,
        create: Callable[[str], Backend] = create_backend,
    ) -> None:
        self._run_dir = run_dir
        self._console = console if console is not None else sys.stdout
        self._create = create
        self._finish: Finish | None = None
        self._stopping = False
        self._news = threading.Condition()
        self._version = 0
        self._left = 0
        self._leader = threading.Thread(target=self._lead, name="ranklog-delivery", daemon=True)
        self._leader.start()

    def wake(self) -> None:
        """Tell the threads that the journal has grown."""
        with self._news:
            self._version += 1
            self._news.notify_all()

    def close(self, timeout_s: float, *, status: Status | None = None) -> bool:
        """Deliver the rest and close the backends; returns whether that was done in time.

        Args:
            timeout_s: Seconds to wait at most.
            status: Status for a run without an `End` in its journal; None leaves it open in the backends.
        """
        self.end(status)
        self.join(timeout_s)
        return self.delivered

    def end(self, status: Status | None) -> None:
        """Start what `close` does, without waiting."""
        self._finish = Finish(status)
        self.wake()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until everything is delivered, or until `stop` was called."""
        self._leader.join(timeout_s)

    @property
    def ended(self) -> bool:
        """Whether all threads have ended."""
        return not self._leader.is_alive()

    @property
    def delivered(self) -> bool:
        """Whether everything is delivered and the backends are closed."""
        return self.ended and self._left == 0

    def stop(self, timeout_s: float) -> bool:
        """Finish the current batches and leave the rest; returns whether that was done in time."""
        self._stopping = True
        self.wake()
        self.join(timeout_s)
        return self.ended

    def _wait(self, seen: int, timeout_s: float | None) -> None:
        with self._news:
            if self._version == seen and not self._stopping:
                self._news.wait(timeout_s)

    def _lead(self) -> None:
        try:
            pump = self._take_over()
        except Exception as error:  # for example, the disk is full: `ranklog sync` delivers later
            note(self._run_dir, f"cannot start delivery\n{details(error)}")
            self._left = 1
            return
        if pump is None:
            return
        drivers = [
            threading.Thread(
                target=self._drive,
                args=(feed, pump.attempt),
                name=f"ranklog-{feed.target.label}",
                daemon=True,
            )
            for feed in pump.feeds
        ]
        self._left = len(drivers)
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join()
        pump.close()

    def _take_over(self) -> Pump | None:
        """Return the pump once the run has begun and no other process delivers it; None after `stop`."""
        noted = False
        while not self._stopping:
            seen = self._version
            begun = bool(read_heads(self._run_dir))
            if not begun and self._finish:
                return None  # training ended before its first record
            try:
                if begun:
                    return Pump(self._run_dir, console=self._console, create=self._create)
            except LockedError as error:
                if not noted:
                    note(self._run_dir, f"waiting: {error}")
                    noted = True
            self._wait(seen, _BLOCKED_S if begun else None)
        return None

    def _drive(self, feed: Feed, attempt: Attempt | None) -> None:
        while not self._stopping:
            seen, finish = self._version, self._finish
            handed_over = finish is not None and self._is_over(attempt)
            step = Step(done=True) if handed_over else feed.step(finish)
            if step.done:
                with self._news:
                    # Records that damage hides are not delivered, and the run must not count as delivered.
                    self._left -= 0 if feed.cursor.damage else 1
                break
            if step.hopeless and finish is not None:
                break
            if not step.moved:
                self._wait(seen, None if step.due_s is None else max(0.0, step.due_s - time.monotonic()))
        feed.release()

    def _is_over(self, attempt: Attempt | None) -> bool:
        """Whether a later attempt of the run has begun, with its own forwarder."""
        heads = read_heads(self._run_dir)
        return bool(heads) and heads[-1].attempt != attempt
