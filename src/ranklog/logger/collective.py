"""The calls of a logger that every rank must make, because they wait for all ranks."""

from __future__ import annotations

from typing import Any

from ranklog.logger import open_loggers
from ranklog.logger.arguments import check_timeout
from ranklog.logger.lifecycle import OpenLogger
from ranklog.pipeline.reduction.pace import reduce_timeouts
from ranklog.values.numbers import number_option
from ranklog.values.snapshot import take

WEIGHT = "a finite number of 0 or above"
REDUCE_NOW_TIMEOUT_S = 60.0


class CollectiveLogger(OpenLogger):
    """An open logger that can wait for all ranks; `ranklog.logger.logger.Logger` adds logging."""

    def reduce_now(
        self, value: Any, op: str = "mean", weight: float | None = None, timeout: float | None = None
    ) -> float:
        """Reduce one scalar over all ranks and return the result on each rank, for example for early stopping.

        Args:
            value: This rank's scalar.
            op: ``"mean"``, ``"sum"``, ``"min"``, ``"max"`` or ``"std"``.
            weight: Weight of this rank's value, 0 or above; default: 1.
            timeout: Longest time to wait for the other ranks, in seconds; default: 60.

        Returns:
            The reduced value.

        Raises:
            InvalidArgumentError: the reduction, the weight or ``timeout`` is not allowed.
            InvalidItemError: ``value`` is no scalar.
            LaunchError: the logger logs nothing, and the launcher's variables contradict each other.
            NotStartedError: the logger is not open.
            ReduceTimeoutError: not every rank called in time.

        Ranks: all must call, in the same order; waits for all of them.
        """
        timeout_s = REDUCE_NOW_TIMEOUT_S if timeout is None else check_timeout(timeout, "timeout")
        session = self._live("reduce_now")
        taken = take(value, "reduce_now")
        number = taken if isinstance(taken, float) else taken.resolve()
        if self._forked:
            return number
        weight_ = 1.0 if weight is None else number_option(weight, "weight", WEIGHT, low=0.0)
        if self._now is None:
            self._now = open_loggers.connect_now(session, self._config, timeout_s)
        return self._now.reduce(number, op, weight_, timeout_s)

    def _meet(self) -> None:
        """Wait until every rank has called this."""
        timeout_s = reduce_timeouts()[0]
        if self._now is None:
            self._now = open_loggers.connect_now(self._session, self._config, timeout_s)
        self._now.reduce(1.0, "sum", 1.0, timeout_s)
