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
from ranklog.model.text import storable


class Health:
    """Collects what went wrong in one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._first: dict[str, Event] = {}
        self._told: dict[str, int] = {}

    def warn(self, code: str, text: str) -> None:
        """Count trouble; the first of each code is given as a `RanklogWarning`."""
        with self._lock:
            self._counts[code] = self._counts.get(code, 0) + 1
            if code in self._first:
                return
            self._first[code] = Event("warning", code, storable(text), time.time_ns())
        try:
            warnings.warn(f"ranklog: {text}", RanklogWarning, stacklevel=3)
        except RanklogWarning:
            # Under `-W error` a warning would end the thread that met the trouble, or the training loop.
            sys.stderr.write(f"ranklog: {text}\n")

    def news(self, rank: int | None = None, *, last: bool = False) -> list[Event]:
        """Events for causes that were not told yet, so that a run which is killed has them.

        Args:
            rank: For events that name none.
            last: Nothing follows: causes that came again since they were told are told once more, with how often.
        """
        with self._lock:
            out: list[Event] = []
            for code, first in self._first.items():
                times, told = self._counts[code], self._told.get(code, 0)
                if told and not (last and times > told):
                    continue
                self._told[code] = times
                text = first.text if times == 1 else f"{first.text} ({times} times)"
                out.append(Event(first.level, code, text, first.time_ns, rank if first.rank is None else first.rank))
            return out
