"""Blocking reductions whose result every rank gets, for example for early stopping.

Each call returns when every rank has made it, or raises after a time limit. `ReduceNow` opens a separate communicator
at the first call: the training thread uses it, while the reducer thread uses that of the rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

import msgspec
import numpy as np

from ranklog.abc import Strategy, World
from ranklog.model.errors import InvalidArgumentError, ReduceTimeoutError, WorldError
from ranklog.reduce.fused import Deadline, agree_on, reduce_fused
from ranklog.reduce.ops import WEIGHTED_OPS, check_weight, results, states_of
from ranklog.world.progress import progress_of, run

NOW_OPS = ("mean", "sum", "min", "max", "std")


@overload
def reduce_now(
    world: World, value: float, *, op: str = "mean", weight: float | None = None, timeout_s: float
) -> float: ...


@overload
def reduce_now(
    world: World, value: Mapping[str, float], *, op: str = "mean", weight: float | None = None, timeout_s: float
) -> dict[str, float]: ...


def reduce_now(
    world: World,
    value: float | Mapping[str, float],
    *,
    op: str = "mean",
    weight: float | None = None,
    timeout_s: float,
) -> float | dict[str, float]:
    """Reduce a number, or a mapping of names to numbers, over all ranks.

    Non-finite values are left out, as in `log`. The result is NaN if no finite value remains.

    Ranks: every rank must call, with the same names and reduction. Blocks. The result is equal on all ranks.

    Raises:
        InvalidArgumentError: the reduction or the weight is not allowed, or the names differ between ranks.
        ReduceTimeoutError: not every rank called in time, or the connection broke.
    """
    if not isinstance(op, str) or op not in NOW_OPS:
        raise InvalidArgumentError(f"op={op!r} is not known: give one of {', '.join(NOW_OPS)}")
    weight = check_weight(1.0 if weight is None else weight)
    values = value if isinstance(value, Mapping) else {"": value}
    names = list(values)
    if not names:
        raise InvalidArgumentError("value={} is not allowed: give a number or at least one name")
    rank = world.place.rank
    weights = np.full(len(names), weight if op in WEIGHTED_OPS else 1.0)
    states = states_of(np.array([float(v) for v in values.values()]), weights, rank)
    calls = Deadline(world, timeout_s)
    try:
        if not agree_on(msgspec.msgpack.encode((names, op)), calls):
            raise InvalidArgumentError(
                f"reduce_now was called with op={op!r} and names {names[:8]} on {world.place}, but differently on"
                " another rank: pass the same op and names on all ranks"
            )
        total = reduce_fused(states, [op], [len(names)], calls, rank)
    except WorldError as error:
        raise ReduceTimeoutError(f"reduce_now on {world.place}: {error}; every rank must call it") from error
    reduced = dict(zip(names, results(total, op)[""].tolist(), strict=True))
    return reduced if isinstance(value, Mapping) else reduced[""]


class ReduceNow:
    """The communicator of `reduce_now`.

    Args:
        strategy: Opens the communicator.
        channel: Name of the logger's communicator, equal on all ranks.
        timeout_s: Time limit for opening it.

    Raises:
        ReduceTimeoutError: the other ranks did not join in time.
    """

    def __init__(self, strategy: Strategy, channel: str, timeout_s: float) -> None:
        self._progress = progress_of(strategy)
        place = strategy.place()
        if place.world_size > 1 and not strategy.ready():
            raise ReduceTimeoutError(
                f"reduce_now on {place}: no process group is initialised; call it after"
                " torch.distributed.init_process_group, horovod.torch.init or the equivalent of your framework"
            )
        try:
            self._world = run(lambda: strategy.connect(channel=f"{channel}/now", timeout_s=timeout_s), self._progress)
        except WorldError as error:
            raise ReduceTimeoutError(f"reduce_now on {place}: {error}; every rank must call it") from error

    def reduce(self, value: float, op: str, weight: float, timeout_s: float) -> float:
        """Reduce one number; see `reduce_now`."""
        return run(lambda: reduce_now(self._world, value, op=op, weight=weight, timeout_s=timeout_s), self._progress)

    def close(self) -> None:
        """Release the communicator."""
        self._world.close()
