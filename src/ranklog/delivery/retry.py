"""When to try again after trouble: exponential backoff with jitter, pure but for the random source.

Times are seconds of a monotonic clock, given by the caller. A cause that waiting does not cure (a package
that is not installed) is tried again rarely.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 0.5
LONGEST_S = 60.0
RARELY_S = 600.0


class Retry:
    """The backoff of one backend.

    Args:
        jitter: Gives a number in [0, 1); 1 means the full wait, 0 half of it.

    Attributes:
        failures: Failed tries in a row.
        due_s: Monotonic time of the next try; 0 when there is nothing to wait for.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self.failures = 0
        self.due_s = 0.0

    def ready(self, now_s: float) -> bool:
        """Whether it is time for the next try."""
        return now_s >= self.due_s

    def failed(self, now_s: float, *, rarely: bool = False) -> None:
        """Count a failure and set the time of the next try."""
        longest_s = RARELY_S if rarely else min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures, 20))
        self.failures += 1
        self.due_s = now_s + longest_s * (0.5 + 0.5 * self._jitter())

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
        self.due_s = 0.0
