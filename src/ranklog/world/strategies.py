"""Strategies by name: how a process finds its place and opens a communicator.

``single`` is for one process. ``torch``, ``deepspeed``, ``horovod``, ``mpi`` and ``ray`` use the ranks of that runtime;
before it is initialised, they use the launcher's variables. ``auto`` takes whatever is initialised (see
`ranklog.world.auto`). Objects that know their rank and world size, such as itwinai's strategies, and your own
`Strategy` objects are accepted too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ranklog.abc import RankProvider, Strategy
from ranklog.model.errors import InvalidArgumentError
from ranklog.world.adapters import AdaptedStrategy
from ranklog.world.auto import AutoStrategy, initialised_place
from ranklog.world.horovod import HorovodStrategy
from ranklog.world.mpi import MpiStrategy
from ranklog.world.place.detect import is_forced_single
from ranklog.world.ray import RayStrategy
from ranklog.world.single import SingleStrategy
from ranklog.world.torch import DeepSpeedStrategy, TorchStrategy

STRATEGIES: dict[str, Callable[[int | None], Strategy]] = {
    "auto": AutoStrategy,
    "single": SingleStrategy,
    "torch": TorchStrategy,
    "deepspeed": DeepSpeedStrategy,
    "horovod": HorovodStrategy,
    "mpi": MpiStrategy,
    "ray": RayStrategy,
}


def resolve_strategy(strategy: str | Strategy | RankProvider = "auto", rank: int | None = None) -> Strategy:
    """Return the strategy of that name. A strategy object is returned unchanged.

    Args:
        strategy: A name of `STRATEGIES`, a strategy, or an object with ``global_rank()`` and ``global_world_size()``.
        rank: Rank of this process according to the user; None to detect it.

    Raises:
        InvalidArgumentError: the name or object is unknown, or the rank is negative or contradicted by the group or
            launcher.
        LaunchError: the launcher's variables are needed but incomplete.
    """
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 0):
        raise InvalidArgumentError(f"rank={rank!r} is not allowed: give an int of 0 or above, or None to detect it")
    found = _find(strategy, rank)
    if rank is not None or found.name == "auto":
        found.place()  # raises here, in the caller, for a contradicted rank or incomplete launcher variables
    return found


def _find(strategy: Any, rank: int | None) -> Strategy:
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            raise InvalidArgumentError(
                f"strategy={strategy!r} is not known: give one of {', '.join(STRATEGIES)}, or an object with"
                " global_rank and global_world_size, or one with place, ready and connect"
            )
        return SingleStrategy(rank) if strategy == "auto" and _alone() else STRATEGIES[strategy](rank)
    if all(callable(getattr(strategy, method, None)) for method in ("place", "ready", "connect")):
        found: Strategy = strategy
        return found
    if isinstance(strategy, RankProvider):
        return AdaptedStrategy(strategy, rank)
    raise InvalidArgumentError(
        f"strategy={strategy!r} is not allowed: give one of {', '.join(STRATEGIES)}, or an object with global_rank()"
        " and global_world_size()"
    )


def _alone() -> bool:
    """Return whether neither a group nor the launcher connects this process to others."""
    if is_forced_single(os.environ):
        return True
    return initialised_place() is None and AutoStrategy().place().world_size == 1
