"""The current place of this process, and two helpers that act on rank 0 only.

An initialised process group outranks the launcher's variables, and ``RANKLOG_STRATEGY=single`` outranks both. No
framework is imported: a group is only looked up if the program has imported its package. Nothing is cached, so the
next call sees a group that was initialised in the meantime.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import IO, ParamSpec, TypeVar

from ranklog.model.place import Place

P = ParamSpec("P")
R = TypeVar("R")


def place() -> Place:
    """Return this process's place in its job: rank, world size, node and launcher.

    The first of these that applies decides: ``RANKLOG_STRATEGY=single`` (rank 0 of 1), an initialised group
    (torch.distributed, Horovod, Ray Train, MPI), the launcher's environment variables. If group and variables disagree,
    the group wins, and one `RanklogWarning` names both.

    Ranks: any may call, at any time. Does not block or communicate.

    Raises:
        LaunchError: the launcher's variables are incomplete or contradict each other, and no group is initialised.

    Example:
        >>> here = place()
        >>> 0 <= here.rank < here.world_size
        True
    """
    from ranklog.world.auto import AutoStrategy  # imports numpy, which a script that only imports ranklog may not need

    return AutoStrategy().place()


def rank_zero_only(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make a function run on global rank 0 only; on other ranks it returns None and does nothing.

    The place is looked up at each call, so a function may be decorated before a group is initialised. The function
    must not contain a collective operation, because the other ranks would never join it.

    Ranks: any may call; the function runs on rank 0. Does not block by itself.

    Raises:
        LaunchError: at each call, when the launcher's variables are incomplete or contradict each other.

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
    """Print on global rank 0 only. Takes the arguments of `print`.

    Ranks: any may call; only rank 0 prints. Does not block.

    Raises:
        LaunchError: when the launcher's variables are incomplete or contradict each other.

    Example:
        >>> rank_zero_print("epoch", 3, sep=" = ")
        epoch = 3
    """
    if place().is_main:
        print(*values, sep=sep, end=end, file=file, flush=flush)
