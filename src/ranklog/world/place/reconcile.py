"""Completes what a process group tells of itself by the facts of the environment that agree with it.

A group knows rank and world size; which ranks share a node, the launcher, the job and the attempt are detected by the
launcher's variables, where those mean the same ranks. In: rank, world size, environment. Out: a `Place`.
"""

from __future__ import annotations

import functools
import warnings

import msgspec

from ranklog.model.errors import InvalidArgumentError, LaunchError, RanklogWarning
from ranklog.model.place import Place
from ranklog.world.place.detect import STRATEGY_VARIABLE, detect_place
from ranklog.world.place.launchers import Environ


def add_node_facts(group: Place, environ: Environ) -> Place:
    """Add node facts, job and attempt to the rank and world size of a group.

    Where group and variables disagree the group is right, and one `RanklogWarning` names both. Where nobody tells
    which ranks share a node, all are taken to be on one.

    Args:
        group: Rank, world size and, as launcher, the name of what initialised the group.
        environ: Environment variables.
    """
    try:
        detected = detect_place(environ)
    except LaunchError:
        detected = None  # the group tells what the variables do not
    if detected is not None and (detected.rank, detected.world_size) == (group.rank, group.world_size):
        return detected
    if detected is not None and detected.launcher != "single":
        _warn_once(str(group), str(detected))
    if detected is not None and detected.world_size == group.world_size:
        return msgspec.structs.replace(detected, rank=group.rank)  # the same processes, numbered differently
    numbers = {"RANK": str(group.rank), "WORLD_SIZE": str(group.world_size)}
    try:
        found = detect_place({**environ, **numbers})
    except LaunchError:
        job = detect_place({**environ, STRATEGY_VARIABLE: "single"})
        found = msgspec.structs.replace(detect_place(numbers), job_id=job.job_id, attempt=job.attempt)
    return msgspec.structs.replace(found, launcher=group.launcher)


def with_given_rank(found: Place, rank: int | None, *, detected: bool) -> Place:
    """Check the rank that the user gave against the place that was found.

    Args:
        found: By a group, a launcher, or neither.
        rank: As the user gave it, or None.
        detected: Whether a group or launcher tells; if neither does, the given rank counts.

    Raises:
        InvalidArgumentError: the group or launcher tells another rank.
    """
    if rank is None or rank == found.rank:
        return found
    if detected:
        raise InvalidArgumentError(
            f"rank={rank} was given, but this process is {found}: leave rank out, or give the group's own rank."
            f" If this process trains by itself, set {STRATEGY_VARIABLE}=single"
        )
    return msgspec.structs.replace(found, rank=rank, world_size=max(found.world_size, rank + 1))


@functools.cache
def _warn_once(group: str, detected: str) -> None:
    warnings.warn(
        f"the process group says {group}, the environment says {detected}: going by the group. Initialise the"
        " group from the launcher's variables, or unset those that do not belong to this process",
        RanklogWarning,
        stacklevel=7,  # the caller of `ranklog.place`
    )
