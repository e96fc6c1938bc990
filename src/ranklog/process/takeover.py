"""Detects that another handler has replaced ours: it then decides how the process ends.

A library may set a handler after a logger was opened, call ours from it, and put ours back soon. Lightning does this
during ``fit``. The thread that watches for signals may run only after that, so the handler records who called it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

RECENT_S = 2.0
"""The watching thread gets the interpreter's lock within this many seconds of a signal."""


class Takeover:
    """Knows whether signals reach our handler directly.

    Args:
        ours: Our handler.
    """

    def __init__(self, ours: Callable[[int, FrameType | None], None]) -> None:
        self._ours = ours
        self._seen_s: dict[int, float] = {}

    def by_caller(self, number: int) -> bool:
        """In our handler: return, and remember, whether another handler called it."""
        taken = self.is_current(number)
        if taken:
            self._seen_s[number] = time.monotonic()
        return taken

    def is_current(self, number: int) -> bool:
        """Return whether another handler is set now."""
        return signal.getsignal(number) != self._ours

    def is_recent(self, number: int) -> bool:
        """Return whether another handler is set, or has just called ours."""
        return self.is_current(number) or time.monotonic() - self._seen_s.get(number, float("-inf")) < RECENT_S
