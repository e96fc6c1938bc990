"""Keeps communication moving from the training thread, for strategies that need it (see `ranklog.abc.Strategy`).

In: the strategy's ``progress`` function, or None if its communicator works from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ranklog.abc import Strategy

T = TypeVar("T")
Progress = Callable[[], None]

PAUSE_S = 0.002
"""Pause between two calls of ``progress`` while the training thread waits."""


def progress_of(strategy: Strategy) -> Progress | None:
    """Return the function that the training thread must call; None if there is none."""
    found: Progress | None = getattr(strategy, "progress", None)
    return found


def run(work: Callable[[], T], progress: Progress | None) -> T:
    """Call ``work``, which communicates; if the training thread must help, call it in another thread meanwhile."""
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
