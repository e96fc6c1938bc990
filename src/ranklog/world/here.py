"""This process's place, found when it is asked for, and two helpers that act on rank 0 only.

An initialised process group outranks the launcher's variables, and ``RANKLOG_STRATEGY=single`` outranks both.
Never imports a framework: a group is looked for only where the program has imported torch itself. Nothing is
kept between calls, so a group that is initialised later is seen by the next call.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import IO, ParamSpec, TypeVar

import msgspec

from ranklog.model.errors import LaunchError, RanklogWarning
from ranklog.model.place import Place
from ranklog.world.families import Environ
from ranklog.world.launch import STRATEGY_VARIABLE, detect_place, stands_alone

P = ParamSpec("P")
R = TypeVar("R")


def place() -> Place:
    """Tell where this process stands in its job: rank, world size, node and launcher.

    The first of these that tells it counts: ``RANKLOG_STRATEGY=single`` (rank 0 of 1), an initialised
    torch.distributed group, the launcher's environment variables. Where group and variables disagree the
    group is right, and one `RanklogWarning` names both.

    Ranks: any may call, at any time; does not block, does not communicate.

    Raises:
        LaunchError: when the launcher's variables are incomplete or contradict each other, and no group is
            initialised.

    Example:
        >>> here = place()
        >>> 0 <= here.rank < here.world_size
        True
    """
    environ = dict(os.environ)  # one look: reading os.environ name by name takes twice as long
    group = None if stands_alone(environ) else _initialised_group()
    return detect_place(environ) if group is None else _reconcile(group, environ)


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


def _initialised_group() -> Place | None:
    """Give rank and world size of torch's default group, when the program has initialised one."""
    distributed = sys.modules.get("torch.distributed")
    # Missing while torch is being imported, and in builds without torch.distributed.
    is_initialized = getattr(distributed, "is_initialized", None)
    if distributed is None or is_initialized is None or not is_initialized():
        return None
    return Place(rank=distributed.get_rank(), world_size=distributed.get_world_size(), launcher="torch")


def _reconcile(group: Place, environ: Environ) -> Place:
    """Complete a group's rank and world size by the facts of the environment that agree with them."""
    try:
        told = detect_place(environ)
    except LaunchError:
        told = None  # the group tells what the variables do not
    if told is not None and (told.rank, told.world_size) == (group.rank, group.world_size):
        return told
    if told is not None and told.launcher != "single":
        _warn_once(str(group), str(told))
    if told is not None and told.world_size == group.world_size:
        return msgspec.structs.replace(told, rank=group.rank)  # the same processes, numbered differently
    numbers = {"RANK": str(group.rank), "WORLD_SIZE": str(group.world_size)}
    try:
        found = detect_place({**environ, **numbers})
    except LaunchError:
        job = detect_place({**environ, STRATEGY_VARIABLE: "single"})
        found = msgspec.structs.replace(detect_place(numbers), job_id=job.job_id, attempt=job.attempt)
    return msgspec.structs.replace(found, launcher=group.launcher)


@functools.cache
def _warn_once(group: str, told: str) -> None:
    warnings.warn(
        f"the process group says {group}, the environment says {told}: going by the group. Initialise the"
        " group from the launcher's variables, or unset those that do not belong to this process",
        RanklogWarning,
        stacklevel=4,
    )
