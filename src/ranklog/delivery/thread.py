"""Delivers a run while it is written, in threads of this process: one that leads, and one for each backend.

Started by the trainer itself (``forward="thread"``) or by the forwarder process
(`ranklog.delivery.__main__`). Guarantees: nothing here raises into the caller; without news the threads sleep
(no timeout, no polling) unless a retry is due; a backend that hangs holds up itself only. While another
process delivers the run (the forwarder of the attempt before, or a ``ranklog sync``), this one waits for it.
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
from ranklog.delivery.feed import Feed, Finish, Step
from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.journal.reader import read_heads
from ranklog.model.record import Attempt, Status

_BLOCKED_S = 1.0


class ForwardThread:
    """Live delivery of one run; starts at once.

    Ranks: rank 0 only. No method blocks but `close` and `stop`, up to their time limit.

    Args:
        run_dir: The run directory.
        console: Where the console backend prints.
        create: Makes a backend from its name.
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
        """The journal has grown."""
        with self._news:
            self._version += 1
            self._news.notify_all()

    def close(self, timeout_s: float, *, status: Status | None = None) -> bool:
        """Deliver what is left and close the backends; whether all of it was done in time.

        Args:
            timeout_s: How long to wait at most.
            status: Status for a run that has no `End` in its journal; None leaves it open in the backends.
        """
        self.end(status)
        self.join(timeout_s)
        return self.delivered

    def end(self, status: Status | None) -> None:
        """As `close`, without waiting."""
        self._finish = Finish(status)
        self.wake()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until nothing is left to do, or it was told to stop."""
        self._leader.join(timeout_s)

    @property
    def over(self) -> bool:
        """Whether it has come to its end, one way or the other."""
        return not self._leader.is_alive()

    @property
    def delivered(self) -> bool:
        """Whether all was delivered and the backends are closed."""
        return self.over and self._left == 0

    def stop(self, timeout_s: float) -> bool:
        """Finish the batches in hand, leave the rest for later; whether that was done in time."""
        self._stopping = True
        self.wake()
        self.join(timeout_s)
        return self.over

    def _wait(self, seen: int, timeout_s: float | None) -> None:
        with self._news:
            if self._version == seen and not self._stopping:
                self._news.wait(timeout_s)

    def _lead(self) -> None:
        try:
            pump = self._take_over()
        except Exception as error:  # for example a disk that is full: the run is left for `ranklog sync`
            note(self._run_dir, f"delivery cannot start\n{details(error)}")
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
        """The pump, once the run has begun and nobody else delivers it; None when told to stop before."""
        said = False
        while not self._stopping:
            seen = self._version
            begun = bool(read_heads(self._run_dir))
            if not begun and self._finish:
                return None  # the trainer died before its first record
            try:
                if begun:
                    return Pump(self._run_dir, console=self._console, create=self._create)
            except LockedError as error:
                if not said:
                    note(self._run_dir, f"waiting: {error}")
                    said = True
            self._wait(seen, _BLOCKED_S if begun else None)
        return None

    def _drive(self, feed: Feed, attempt: Attempt | None) -> None:
        while not self._stopping:
            seen, finish = self._version, self._finish
            handed_over = finish is not None and self._is_over(attempt)
            step = Step(done=True) if handed_over else feed.step(finish)
            if step.done:
                with self._news:
                    # What damage in the journal hides is not delivered: it must not look as if it were.
                    self._left -= 0 if feed.cursor.damage else 1
                break
            if step.hopeless and finish is not None:
                break
            if not step.moved:
                self._wait(seen, None if step.due_s is None else max(0.0, step.due_s - time.monotonic()))
        feed.release()

    def _is_over(self, attempt: Attempt | None) -> bool:
        """Whether a later attempt of the run has begun, which brings its own forwarder."""
        heads = read_heads(self._run_dir)
        return bool(heads) and heads[-1].attempt != attempt
