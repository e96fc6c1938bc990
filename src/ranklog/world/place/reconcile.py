"""Reconcile a process group with the launcher's environment variables, and with a rank that the user gave.

A group knows its rank and world size. Node, launcher, job and attempt come from the launcher's variables, if those
describe the same ranks. In: rank, world size, environment. Out: a `Place`.
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

    If group and variables disagree, the group wins, and one `RanklogWarning` names both. Without node variables, all
    ranks are assumed to share one node.

    Args:
        group: Rank, world size and, as its launcher, the name of the library that initialised the group.
        environ: Environment variables.
    """
    try:
        detected = detect_place(environ)
    except LaunchError:
        detected = None  # the group knows what the variables do not say
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
        found: Place that was found.
        rank: Rank that the user gave, or None.
        detected: Whether a group or a launcher determined the place; if not, the given rank counts.

    Raises:
        InvalidArgumentError: the group or launcher has another rank.
    """
    if rank is None or rank == found.rank:
        return found
    if detected:
        raise InvalidArgumentError(
            f"rank={rank} was given, but this process is {found}: leave rank out, or pass the rank of the group."
            f" If this process trains by itself, set {STRATEGY_VARIABLE}=single"
        )
    return msgspec.structs.replace(found, rank=rank, world_size=max(found.world_size, rank + 1))


@functools.cache
def _warn_once(group: str, detected: str) -> None:
    warnings.warn(
        f"the process group says {group}, the environment says {detected}: using the group. Initialise the group from"
        " the launcher's variables, or unset the variables that do not belong to this process",
        RanklogWarning,
        stacklevel=7,  # the caller of `ranklog.place`
    )
