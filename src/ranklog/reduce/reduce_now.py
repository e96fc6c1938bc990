"""A reduction whose result every rank gets at once, for early stopping and the like.

Blocks until every rank has called it, with a time limit. Uses a world of its own, never the one of the rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

import msgspec
import numpy as np

from ranklog.abc import World
from ranklog.model.errors import InvalidArgumentError, ReduceTimeoutError, WorldError
from ranklog.reduce.fused import Deadline, agree_on, reduce_fused
from ranklog.reduce.ops import WEIGHTED_OPS, check_weight, results, states_of

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

    Ranks: every rank must call, with the same names and reduction; blocks; the result is the same everywhere.
    Non-finite values are left out, as in `log`; NaN comes out where nothing finite remains.

    Raises:
        InvalidArgumentError: for a reduction or weight that is not allowed, or names that differ between ranks.
        ReduceTimeoutError: not every rank called in time, or the connection broke.
    """
    if op not in NOW_OPS:
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
                f"reduce_now was called with op={op!r} and names {names[:8]} on {world.place}, and with others on"
                " another rank: give the same everywhere"
            )
        total = reduce_fused(states, [op], [len(names)], calls, rank)
    except WorldError as error:
        raise ReduceTimeoutError(f"reduce_now on {world.place}: {error}; every rank must call it") from error
    reduced = dict(zip(names, results(total, op)[""].tolist(), strict=True))
    return reduced if isinstance(value, Mapping) else reduced[""]
