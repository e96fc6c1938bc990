"""Moves communication on from the training thread, for strategies whose communicator needs that (see `Strategy`).

In: the strategy's ``progress`` function, or None where a thread of its own communicates. `TellingInbox` calls it at
each log call, `wait` and `run` while the training thread waits anyway.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ranklog.abc import Strategy

T = TypeVar("T")
Progress = Callable[[], None]

PAUSE_S = 0.002


def progress_of(strategy: Strategy) -> Progress | None:
    """The function that the training thread must call, None where there is none."""
    found: Progress | None = getattr(strategy, "progress", None)
    return found


class TellingInbox(deque[T]):
    """An inbox that moves communication on each time that something is put into it."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def append(self, item: T) -> None:
        """Put something in, and move communication on."""
        super().append(item)
        self._progress()


def wait(
    changed: threading.Condition, until: Callable[[], object], timeout_s: float, progress: Progress | None
) -> bool:
    """Wait on a condition that is not held, meanwhile moving communication on; whether it came in time."""
    if progress is None:
        with changed:
            return bool(changed.wait_for(until, timeout_s))
    end_s = time.monotonic() + timeout_s
    while True:
        progress()
        with changed:
            if until():
                return True
            if time.monotonic() >= end_s:
                return False
            changed.wait(PAUSE_S)


def run(work: Callable[[], T], progress: Progress | None) -> T:
    """Do work that communicates; where the training thread must help, in a thread beside it."""
    if progress is None:
        return work()
    results: list[T] = []
    errors: list[BaseException] = []

    def one() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=one, name="ranklog-now", daemon=True)
    thread.start()
    while thread.is_alive():
        progress()
        thread.join(PAUSE_S)
    if errors:
        raise errors[0]
    return results[0]
