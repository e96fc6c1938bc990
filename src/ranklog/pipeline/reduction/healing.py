"""Brings this rank into the next generation of ranks after a round failed or when a rank returns.

In: `Rounds` that are broken, of a world that can regroup. Out: rounds that work again, with the ranks that answered.
Rank 0 waits for the others for a few seconds only: a rank that comes later joins the next generation. A rank that rank
0 does not take along within its time limit keeps its values in its spill file, and continues to try. Only the reducer
thread calls this, except `Healing.begin_close`.
"""

from __future__ import annotations

import threading

from ranklog.abc import RegroupingWorld
from ranklog.pipeline.reduction.pace import LONGEST_S
from ranklog.reduce.round import Rounds

FORM_S = 5.0
"""Longest time for which rank 0 of a small world waits for the other ranks."""
PER_RANK_S = 1e-3
"""Additional time per rank of the world, for the requests of all ranks to one store."""
LEAST_S = LONGEST_S + 0.5
"""Shortest such time: a rank notices only after its pause between rounds that a generation has ended."""
MARGIN_S = LONGEST_S + 1.0
"""How much longer another rank waits: rank 0 sees it only after a pause, and then waits for others."""


class Healing:
    """Regroups for one rank.

    Args:
        is_main: Whether this is rank 0.
        world_size: Number of ranks.
        timeout_s: Time limit of a round.
    """

    def __init__(self, *, is_main: bool, world_size: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        form_s = max(min(FORM_S, timeout_s), LEAST_S) + world_size * PER_RANK_S
        self._closing_s = form_s + MARGIN_S
        self._retry_s = form_s if is_main else self._closing_s
        self._limit_s = form_s if is_main else max(timeout_s, self._retry_s)
        self._is_main = is_main
        self._stop = threading.Event()
        self._closing = False

    def heal(self, rounds: Rounds) -> bool:
        """Try once to join the next generation; returns whether the rounds work again."""
        closing = self._closing
        world = rounds.world
        if not isinstance(world, RegroupingWorld):
            return False
        try:
            limit_s = self._retry_s if closing or rounds.failed else self._limit_s
            rounds.join(world.regroup(timeout_s=limit_s, stop=self._stop), self._timeout_s)
        except Exception:  # whatever a strategy's world raises: this rank continues without the others
            if self._is_main:
                rounds.continue_alone()
            elif closing:
                rounds.give_up()
            else:
                rounds.cut_off()
            return self._is_main
        return True

    def begin_close(self) -> None:
        """Wait for a generation for a few more seconds only."""
        self._closing = True
        timer = threading.Timer(self._closing_s, self._stop.set)
        timer.daemon = True
        timer.start()
