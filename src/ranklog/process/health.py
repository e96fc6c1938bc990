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

MOST_ABOUT = 20
_Cause = tuple[str, str]


class Health:
    """Collects what went wrong in one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[_Cause, int] = {}
        self._first: dict[_Cause, Event] = {}
        self._told: dict[_Cause, int] = {}

    def warn(self, code: str, text: str, *, about: str = "") -> None:
        """Count trouble; the first of each code is given as a `RanklogWarning`.

        Args:
            code: Code of the event.
            text: What went wrong, and the cure.
            about: What tells causes of one code apart, for example a name; so that names without end give no warnings
                without end, those after the first `MOST_ABOUT` of a code count as one.
        """
        with self._lock:
            cause = (code, about)
            if cause not in self._first and sum(known == code for known, _ in self._first) >= MOST_ABOUT:
                cause = (code, "")
            self._counts[cause] = self._counts.get(cause, 0) + 1
            if cause in self._first:
                return
            self._first[cause] = Event("warning", code, storable(text), time.time_ns())
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
            for cause, first in self._first.items():
                times, told = self._counts[cause], self._told.get(cause, 0)
                if told and not (last and times > told):
                    continue
                self._told[cause] = times
                text = first.text if times == 1 else f"{first.text} ({times} times)"
                out.append(
                    Event(first.level, first.code, text, first.time_ns, rank if first.rank is None else first.rank)
                )
            return out
