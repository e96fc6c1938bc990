"""The pace of rounds: how long a rank is waited for, and the pause until the next round; pure but for one variable."""

from __future__ import annotations

import os

from ranklog.model.errors import InvalidArgumentError

FIRST_TIMEOUT_S = 60.0
TIMEOUT_S = 30.0
BUSY_S = 0.2
LONGEST_S = 2.0
IDLE_S = 1.0
SHARE = 0.05


def reduce_timeouts() -> tuple[float, float]:
    """Seconds that the first and the later rounds wait for a rank: 60 and 30, or ``RANKLOG_REDUCE_TIMEOUT``.

    Raises:
        InvalidArgumentError: the variable is no positive number.
    """
    given = os.environ.get("RANKLOG_REDUCE_TIMEOUT")
    if not given:
        return FIRST_TIMEOUT_S, TIMEOUT_S
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e6:
        raise InvalidArgumentError(f"RANKLOG_REDUCE_TIMEOUT={given!r} is not allowed: give seconds above 0")
    return seconds, seconds


def next_pause(pause_s: float, *, waiting: bool, cost_s: float) -> float:
    """Seconds until the next round: the more a round costs, the more steps each one takes along.

    Args:
        pause_s: The last pause.
        waiting: Whether this rank has something to reduce.
        cost_s: What the last round took once all ranks had joined.

    Example:
        >>> next_pause(1.0, waiting=True, cost_s=0.001)
        0.2
        >>> next_pause(0.2, waiting=True, cost_s=0.05)
        1.0
    """
    shortest_s = min(max(BUSY_S, cost_s / SHARE), LONGEST_S)
    return shortest_s if waiting else max(shortest_s, min(pause_s * 1.5, IDLE_S))
