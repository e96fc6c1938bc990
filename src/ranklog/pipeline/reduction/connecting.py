"""Opens ranklog's own communicator, from the reducer thread.

In: a strategy, and what the reducer knows of its rank. Out: a world on which all ranks have met, or one that refuses
every call where they did not join. Guarantee: a strategy may raise anything; that never reaches training.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ranklog.abc import Strategy, World
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.process.warnings import Health
from ranklog.world.shutdown import PROCESS_ENDING
from ranklog.world.single import SeveredWorld

CLOSE_GRACE_S = 2.0
TRY_S = 1.0
PAUSE_S = 0.05
_NO_GROUP = "no process group was initialised (torch.distributed.init_process_group)"


class Connecting:
    """One attempt to meet the other ranks.

    Args:
        strategy: Opens the communicator.
        place: This process.
        channel: Name of the communicator, equal on all ranks.
        health: Takes trouble.
        pending: Whether this rank has something for the others.
        closing: Whether the logger is being closed.
        abandoned: Whether nobody waits for the result any more.
        pause: Waits so many seconds, or until something has changed.
    """

    def __init__(
        self,
        strategy: Strategy,
        place: Place,
        channel: str,
        health: Health,
        *,
        pending: Callable[[], bool],
        closing: Callable[[], bool],
        abandoned: Callable[[], bool],
        pause: Callable[[float], None],
    ) -> None:
        self._strategy = strategy
        self._place = place
        self._channel = channel
        self._health = health
        self._pending = pending
        self._closing = closing
        self._abandoned = abandoned
        self._pause = pause

    def join(self, first_timeout_s: float, timeout_s: float) -> World:
        """Wait for a process group and for all ranks.

        Args:
            first_timeout_s: How long the others may take once there is a group.
            timeout_s: How long they may take when this rank closes with values left.
        """
        try:
            return self._join(first_timeout_s, timeout_s)
        except BaseException as error:  # asyncio.CancelledError is no Exception, and this thread must not end here
            return self.alone(error)

    def alone(self, error: BaseException) -> World:
        """A world that refuses every call, after the strategy or its world raised something."""
        reason = f"strategy {self._strategy.name!r} raised {error!r}"
        self._warn_alone(reason)
        return SeveredWorld(self._place, reason)

    def _join(self, first_timeout_s: float, timeout_s: float) -> World:
        deadline: float | None = None
        close_deadline: float | None = None
        limit: float | None
        group_deadline = time.monotonic() + first_timeout_s
        warned = False
        while True:
            now = time.monotonic()
            if self._closing() and close_deadline is None:
                pending = self._pending() and self._strategy.ready()
                close_deadline = now + (timeout_s if pending else CLOSE_GRACE_S)
            if self._strategy.ready():
                deadline = deadline or now + first_timeout_s
                limit = min(t for t in (deadline, close_deadline) if t is not None)
                try:
                    return self._strategy.connect(channel=self._channel, timeout_s=min(limit - now, TRY_S))
                except WorldError as error:
                    reason = str(error)
            else:
                limit = close_deadline
                reason = _NO_GROUP
                if not warned and now >= group_deadline and self._pending():
                    warned = True
                    self._warn(reason, "Values for other ranks wait until there is one.")
            if PROCESS_ENDING.is_set() or self._abandoned():
                return SeveredWorld(self._place, reason)
            if limit is not None and time.monotonic() >= limit:
                if self._pending() or not self._closing():
                    self._warn_alone(reason)
                return SeveredWorld(self._place, reason)
            self._pause(PAUSE_S)

    def _warn_alone(self, reason: str) -> None:
        self._warn(
            reason,
            "Rank 0 continues alone, and coverage is marked. "
            "Open the logger on every rank, or set log_on_workers and reduce for one rank.",
        )

    def _warn(self, reason: str, consequence: str) -> None:
        about = "group" if reason == _NO_GROUP else ""  # is reported before the end, and only once
        self._health.warn("reduce", f"{self._place}: ranks cannot be reached: {reason}. {consequence}", about=about)
