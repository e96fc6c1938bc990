"""Trouble that must not stop training: each cause is warned about once, counted, and written into the run.

`Health.warn` may be called from any thread and from a signal handler, also in the middle of another call: it takes no
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
    """Collects what went wrong in one process."""

    def __init__(self) -> None:
        self._first: dict[_Cause, Event] = {}
        self._again: deque[_Cause] = deque()  # counted by `news`
        self._counts: dict[_Cause, int] = {}
        self._told: dict[_Cause, int] = {}

    def warn(self, code: str, text: str, *, about: str = "") -> None:
        """Count trouble; the first of each code is given as a `RanklogWarning`.

        Args:
            code: Code of the event.
            text: What went wrong, and the cure.
            about: What tells causes of one code apart, for example a name; so that names without end give no warnings
                without end, those after the first `MOST_ABOUT` of a code count as one.
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
            # Under `-W error` a warning would end the thread that met the trouble, or the training loop.
            sys.stderr.write(f"ranklog: {text}\n")

    def news(self, rank: int | None = None, *, last: bool = False) -> list[Event]:
        """Events for causes that were not told yet, so that a run which is killed has them.

        Args:
            rank: For events that name none.
            last: Nothing follows: causes that came again since they were told are told once more, with how often.
        """
        while self._again:
            cause = self._again.popleft()
            self._counts[cause] = self._counts.get(cause, 1) + 1
        out: list[Event] = []
        for cause, first in list(self._first.items()):
            times, told = self._counts.get(cause, 1), self._told.get(cause, 0)
            if told and not (last and times > told):
                continue
            self._told[cause] = times
            text = first.text if times == 1 else f"{first.text} ({times} times)"
            out.append(Event(first.level, first.code, text, first.time_ns, rank if first.rank is None else first.rank))
        return out
