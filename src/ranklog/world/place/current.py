"""This process's place, found when it is asked for, and two helpers that act on rank 0 only.

An initialised process group outranks the launcher's variables, and ``RANKLOG_STRATEGY=single`` outranks both.
Never imports a framework: a group is looked for only where the program has imported its package itself. Nothing is
kept between calls, so a group that is initialised later is seen by the next call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import IO, ParamSpec, TypeVar

from ranklog.model.place import Place

P = ParamSpec("P")
R = TypeVar("R")


def place() -> Place:
    """Tell where this process stands in its job: rank, world size, node and launcher.

    The first of these that tells it counts: ``RANKLOG_STRATEGY=single`` (rank 0 of 1), an initialised
    group (torch.distributed, Horovod, Ray Train, MPI), the launcher's environment variables. Where group and
    variables disagree the group is right, and one `RanklogWarning` names both.

    Ranks: any may call, at any time; does not block, does not communicate.

    Raises:
        LaunchError: when the launcher's variables are incomplete or contradict each other, and no group is
            initialised.

    Example:
        >>> here = place()
        >>> 0 <= here.rank < here.world_size
        True
    """
    from ranklog.world.auto import AutoStrategy  # brings numpy, which a script that only imports ranklog may not need

    return AutoStrategy().place()


def rank_zero_only(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make a function run on global rank 0 only; on other ranks it returns None and does nothing.

    The place is found at each call, so decorating at import time, before a group is initialised, is fine. Do
    not put a collective operation into such a function: the other ranks never join it.

    Ranks: any may call; runs on rank 0; does not block by itself.

    Example:
        >>> @rank_zero_only
        ... def announce(epochs: int) -> str:
        ...     return f"training {epochs} epochs"
        >>> announce(3)
        'training 3 epochs'
    """

    @functools.wraps(function)
    def on_rank_zero(*args: P.args, **kwargs: P.kwargs) -> R | None:
        return function(*args, **kwargs) if place().is_main else None

    return on_rank_zero


def rank_zero_print(
    *values: object,
    sep: str | None = " ",
    end: str | None = "\n",
    file: IO[str] | None = None,
    flush: bool = False,
) -> None:
    """Print on global rank 0 only; takes what `print` takes.

    Ranks: any may call; prints on rank 0; does not block.

    Example:
        >>> rank_zero_print("epoch", 3, sep=" = ")
        epoch = 3
    """
    if place().is_main:
        print(*values, sep=sep, end=end, file=file, flush=flush)
