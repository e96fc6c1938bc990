"""Moves communication on from the training thread, for strategies whose communicator needs that (see `Strategy`).

In: the strategy's ``progress`` function, or None where a thread of its own communicates. `TellingInbox` calls it at
each log call, `wait` while the training thread waits anyway.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ranklog.world.progress import PAUSE_S, Progress

T = TypeVar("T")


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
