"""Exponential backoff with jitter. Pure, except for the random source.

Times are seconds of a monotonic clock, given by the caller. An error that waiting cannot cure, such as a missing
package, is retried rarely. A server that asks to retry later (HTTP 429) is not a failure and is counted separately.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 60.0
RARE_PAUSE_S = 600.0
MAX_RETRY_AFTER_S = 900.0
_TOO_MANY = re.compile(r"\b429\b|REQUEST_LIMIT_EXCEEDED|Too Many Requests")


class Retry:
    """The backoff of one backend.

    Args:
        jitter: Returns a number in [0, 1). 1 means the full pause, 0 half of it.

    Attributes:
        failures: Failed tries in a row.
        throttled: Tries in a row that the server asked to repeat later.
        due_s: Monotonic time of the next try; 0 for no pause.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self.failures = 0
        self.throttled = 0
        self.due_s = 0.0

    def ready(self, now_s: float) -> bool:
        """Whether the pause is over."""
        return now_s >= self.due_s

    def failed(self, now_s: float, *, rarely: bool = False) -> None:
        """Count a failure and set the time of the next try."""
        longest_s = RARE_PAUSE_S if rarely else min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures, 20))
        self.failures += 1
        self.due_s = now_s + longest_s * (0.5 + 0.5 * self._jitter())

    def slow_down(self, now_s: float, asked_s: float | None = None) -> None:
        """Pause for as long as the server asked, or as after a failure if it gave no time."""
        own_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.throttled, 20))
        self.throttled += 1
        # Never shorter than asked, and not all clients at the same moment.
        self.due_s = now_s + (own_s if asked_s is None else asked_s) + own_s * 0.5 * self._jitter()

    def pause(self, now_s: float, pause_s: float) -> None:
        """Pause before the next try without counting a failure; 0 for no pause."""
        self.due_s = now_s + pause_s if pause_s else 0.0

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0
        self.throttled = 0
        self.due_s = 0.0


def is_throttled(error: BaseException) -> bool:
    """Whether a server answered with HTTP 429, too many requests.

    Example:
        >>> is_throttled(ConnectionError("too many 429 error responses")), is_throttled(ValueError("4290 steps"))
        (True, False)
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status == 429 or bool(_TOO_MANY.search(str(error)))


def asked_wait(error: BaseException) -> float | None:
    """Return the seconds in ``Retry-After``, at most `MAX_RETRY_AFTER_S`; None if it is missing or is not a number."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return min(max(float(headers["Retry-After"]), 0.0), MAX_RETRY_AFTER_S)
    except (KeyError, ValueError, TypeError):
        return None
