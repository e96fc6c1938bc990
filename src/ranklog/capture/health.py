"""Trouble that must not stop training: each cause is warned about once, counted, and noted in the run.

Called from any thread.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings

from ranklog.model.errors import RanklogWarning
from ranklog.model.record import Event


class Health:
    """Collects what went wrong in one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._first: dict[str, Event] = {}

    def warn(self, code: str, text: str, *, rank: int | None = None, step: int | None = None) -> None:
        """Count trouble; the first of each code is given as a `RanklogWarning`."""
        with self._lock:
            self._counts[code] = self._counts.get(code, 0) + 1
            if code in self._first:
                return
            self._first[code] = Event("warning", code, text, time.time_ns(), rank, step)
        try:
            warnings.warn(f"ranklog: {text}", RanklogWarning, stacklevel=3)
        except RanklogWarning:
            # Under `-W error` a warning would end the thread that met the trouble, or the training loop.
            sys.stderr.write(f"ranklog: {text}\n")

    def events(self) -> list[Event]:
        """One event for each cause; those that came more often say how often."""
        with self._lock:
            return [
                event if (n := self._counts[code]) == 1
                else Event(event.level, code, f"{event.text} ({n} times)", event.time_ns, event.rank, event.step)
                for code, event in self._first.items()
            ]  # fmt: skip
