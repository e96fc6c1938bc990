"""Warnings about problems that must not stop training. Each cause warns once, is counted, and is written to the run.

`Health.warn` may be called from any thread and from a signal handler, even during another call, because it takes no
lock. `Health.news` is for the one thread that writes the run.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque

from ranklog.model.errors import RanklogWarning
from ranklog.model.record import Event
from ranklog.model.text import storable

MOST_ABOUT = 20
_Cause = tuple[str, str]


class Health:
    """Collects the warnings of one process."""

    def __init__(self) -> None:
        self._first: dict[_Cause, Event] = {}
        self._again: deque[_Cause] = deque()  # counted by `news`
        self._counts: dict[_Cause, int] = {}
        self._reported: dict[_Cause, int] = {}

    def warn(self, code: str, text: str, *, about: str = "") -> None:
        """Count a problem, and emit a `RanklogWarning` for the first one of each cause.

        Args:
            code: Code of the event.
            text: The problem and the cure.
            about: Distinguishes causes with the same code, for example a name. Causes after the first `MOST_ABOUT` of a
                code count as one, so that an unlimited number of names does not give as many warnings.
        """
        cause = (code, about)
        if cause not in self._first and sum(known == code for known, _ in list(self._first)) >= MOST_ABOUT:
            cause = (code, "")
        event = Event("warning", code, storable(text), time.time_ns())
        if self._first.setdefault(cause, event) is not event:
            self._again.append(cause)
            return
        try:
            warnings.warn(f"ranklog: {text}", RanklogWarning, stacklevel=3)
        except RanklogWarning:
            # Under `-W error`, a warning would end the calling thread or the training loop.
            sys.stderr.write(f"ranklog: {text}\n")

    def news(self, rank: int | None = None, *, last: bool = False) -> list[Event]:
        """Return events for causes that have none yet, so that a run has them even if it is killed.

        Args:
            rank: Rank for events without one.
            last: Whether this is the last call. Causes that occurred again get one more event with their number.
        """
        while self._again:
            cause = self._again.popleft()
            self._counts[cause] = self._counts.get(cause, 1) + 1
        out: list[Event] = []
        for cause, first in list(self._first.items()):
            times, reported = self._counts.get(cause, 1), self._reported.get(cause, 0)
            if reported and not (last and times > reported):
                continue
            self._reported[cause] = times
            text = first.text if times == 1 else f"{first.text} ({times} times)"
            out.append(Event(first.level, first.code, text, first.time_ns, rank if first.rank is None else first.rank))
        return out
