"""The communicator behind ``reduce_now``: opened at its first call, used by the training thread, which waits.

In: a strategy and values. Out: the reduced value on every rank. Separate from the communicator of the rounds, since
each of the two has one thread that calls it.
"""

from __future__ import annotations

from ranklog.abc import Strategy
from ranklog.model.errors import ReduceTimeoutError, WorldError
from ranklog.pipeline.progress import progress_of, run
from ranklog.reduce.reduce_now import reduce_now


class ReduceNow:
    """All ranks, for blocking reductions.

    Args:
        strategy: Opens the communicator.
        channel: Name of the logger's communicator, equal on all ranks.
        timeout_s: Time limit for opening it.

    Raises:
        ReduceTimeoutError: the other ranks did not come in time.
    """

    def __init__(self, strategy: Strategy, channel: str, timeout_s: float) -> None:
        self._progress = progress_of(strategy)
        here = strategy.place()
        if here.world_size > 1 and not strategy.ready():
            raise ReduceTimeoutError(
                f"reduce_now on {here}: no process group is initialised; call it after"
                " torch.distributed.init_process_group, horovod.torch.init or what else this program trains with"
            )
        try:
            self._world = run(lambda: strategy.connect(channel=f"{channel}/now", timeout_s=timeout_s), self._progress)
        except WorldError as error:
            raise ReduceTimeoutError(f"reduce_now on {here}: {error}: every rank must call it") from error

    def reduce(self, value: float, op: str, weight: float, timeout_s: float) -> float:
        """Reduce one number; see `ranklog.reduce.reduce_now.reduce_now`."""
        return run(lambda: reduce_now(self._world, value, op=op, weight=weight, timeout_s=timeout_s), self._progress)

    def close(self) -> None:
        """Release the communicator."""
        self._world.close()
