"""When to try again after trouble: exponential backoff with jitter, pure but for the random source.

Times are seconds of a monotonic clock, given by the caller. A cause that waiting does not cure (a package
that is not installed) is tried again rarely. A server that asks for patience (HTTP 429) is given it: that is no
failure, and counted apart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

FIRST_S = 0.5
LONGEST_S = 60.0
RARELY_S = 600.0
MOST_ASKED_S = 900.0
_TOO_MANY = re.compile(r"\b429\b|REQUEST_LIMIT_EXCEEDED|Too Many Requests")


class Retry:
    """The backoff of one backend.

    Args:
        jitter: Gives a number in [0, 1); 1 means the full wait, 0 half of it.

    Attributes:
        failures: Failed tries in a row.
        throttled: Tries in a row that were answered with a request for patience.
        due_s: Monotonic time of the next try; 0 when there is nothing to wait for.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self.failures = 0
        self.throttled = 0
        self.due_s = 0.0

    def ready(self, now_s: float) -> bool:
        """Whether it is time for the next try."""
        return now_s >= self.due_s

    def failed(self, now_s: float, *, rarely: bool = False) -> None:
        """Count a failure and set the time of the next try."""
        longest_s = RARELY_S if rarely else min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures, 20))
        self.failures += 1
        self.due_s = now_s + longest_s * (0.5 + 0.5 * self._jitter())

    def slow_down(self, now_s: float, asked_s: float | None = None) -> None:
        """Wait for as long as a server asked, or, where it did not say how long, as after a failure."""
        own_s = min(LONGEST_S, FIRST_S * 2.0 ** min(self.throttled, 20))
        self.throttled += 1
        # Never less than asked, and not all clients at the same moment.
        self.due_s = now_s + (own_s if asked_s is None else asked_s) + own_s * 0.5 * self._jitter()

    def pause(self, now_s: float, pause_s: float) -> None:
        """Wait a moment before the next try, without counting a failure; 0 for no wait."""
        self.due_s = now_s + pause_s if pause_s else 0.0

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
        self.throttled = 0
        self.due_s = 0.0


def is_throttled(error: BaseException) -> bool:
    """Whether a server answered that there are too many requests (HTTP 429).

    Example:
        >>> is_throttled(ConnectionError("too many 429 error responses")), is_throttled(ValueError("4290 steps"))
        (True, False)
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status == 429 or bool(_TOO_MANY.search(str(error)))


def asked_wait(error: BaseException) -> float | None:
    """Seconds of an answer's ``Retry-After``, at most `MOST_ASKED_S`; None where it is not told in seconds."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return min(max(float(headers["Retry-After"]), 0.0), MOST_ASKED_S)
    except (KeyError, ValueError, TypeError):
        return None
