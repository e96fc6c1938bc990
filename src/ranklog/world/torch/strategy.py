"""Ranks of torch.distributed: separate groups, next to the user's.

Needs an initialised default group, and only uses its store, its rank and its size. No call of the user's group is made.
A rank that never opens a logger therefore only delays the ranks that wait here, up to their time limit. The store is
cloned, so that waiting does not block the main thread's use of it. The default group may have any backend; values are
combined on the CPU. torch is only used if the program has imported it. Below `HIERARCHY_FROM_RANKS` ranks, or on one
node, all ranks form one group; otherwise they are combined node by node.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec

from ranklog.abc import World
from ranklog.model.errors import InvalidArgumentError, WorldError
from ranklog.model.place import Place
from ranklog.world.place.detect import detect_place
from ranklog.world.place.reconcile import add_node_facts, with_given_rank
from ranklog.world.torch.hierarchy import HIERARCHY_FROM_RANKS
from ranklog.world.torch.meeting import Meeting, new_nonce
from ranklog.world.torch.opening import Opening
from ranklog.world.torch.roll import Roll
from ranklog.world.torch.worlds import GenerationOfRanks, open_world, opening_errors

MESH_TIMEOUT_S = 20.0


def distributed_module() -> ModuleType | None:
    """Return ``torch.distributed`` if the program has imported it, else None."""
    module = sys.modules.get("torch.distributed")
    # The attribute is missing while torch is being imported, and in builds without torch.distributed.
    return module if hasattr(module, "is_initialized") else None


def initialised_group() -> ModuleType | None:
    """Return ``torch.distributed`` if this process has initialised it, else None. Imports nothing."""
    module = distributed_module()
    return module if module is not None and module.is_initialized() else None


def initialised_place() -> Place | None:
    """Return the place in torch's default group; None without one. Node facts as in `add_node_facts`."""
    dist = initialised_group()
    if dist is None:
        return None
    group = Place(rank=dist.get_rank(), world_size=dist.get_world_size(), launcher="torch")
    return add_node_facts(group, os.environ)


class TorchStrategy(msgspec.Struct, frozen=True):
    """Ranks of torch.distributed's default group."""

    rank: int | None = None
    name: str = "torch"

    def place(self) -> Place:
        """Return the group's place; before the group is initialised, the launcher's.

        Raises:
            InvalidArgumentError: the given rank differs.
        """
        group = initialised_place()
        found = group or detect_place(os.environ)
        return with_given_rank(found, self.rank, detected=group is not None or found.launcher != "single")

    def ready(self) -> bool:
        """Return whether torch.distributed is initialised."""
        return initialised_group() is not None

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Open separate gloo groups over the default group's store."""
        try:
            place = self.place()
        except InvalidArgumentError as error:  # a group that was initialised later has another rank
            raise WorldError(str(error)) from error
        return connect_torch(place, channel=channel, timeout_s=timeout_s, stop=stop)


def connect_torch(
    place: Place,
    *,
    channel: str,
    timeout_s: float,
    stop: threading.Event | None = None,
    hierarchy_from: int = HIERARCHY_FROM_RANKS,
) -> GenerationOfRanks:
    """Open gloo groups over the default group's store; see `Strategy.connect`.

    A call that timed out may be repeated. See `Meeting` for how ranks tell a restart from the rounds before it.

    Args:
        place: This rank.
        channel: Name of the communicator.
        timeout_s: Time limit.
        stop: Set from another thread to give up early.
        hierarchy_from: World size from which ranks on several nodes are combined node by node; equal on all ranks.

    Raises:
        WorldError: no group is initialised, or not all ranks joined in time.
    """
    dist = initialised_group()
    if dist is None:
        raise WorldError("torch.distributed is not initialised: call torch.distributed.init_process_group first")
    return connect_over(
        lambda: _clone_of_default_store(dist),
        place,
        channel=channel,
        timeout_s=timeout_s,
        stop=stop,
        hierarchy_from=hierarchy_from,
    )


def connect_over(
    find_store: Callable[[], Any],
    place: Place,
    *,
    channel: str,
    timeout_s: float,
    stop: threading.Event | None = None,
    hierarchy_from: int = HIERARCHY_FROM_RANKS,
) -> GenerationOfRanks:
    """Open gloo groups over a torch store that all ranks share, whichever runtime provides it.

    Args:
        find_store: Returns the store; its duration counts towards the time limit.
        place: This rank.
        channel: Name of the communicator.
        timeout_s: Time limit.
        stop: Set from another thread to give up early.
        hierarchy_from: World size from which ranks on several nodes are combined node by node; equal on all ranks.

    Raises:
        WorldError: not all ranks joined in time.
    """
    caller = (channel, place.rank)
    opening = _openings.get(caller)
    if opening is None or opening.has_failed:
        opening = _openings[caller] = _begin(find_store, caller, place, timeout_s, stop, hierarchy_from)
    with opening_errors(place):
        # Once the ranks have met, all are on their way, so the caller's remaining time no longer matters.
        world = opening.wait(timeout_s, max(timeout_s, MESH_TIMEOUT_S), stop)
    _openings.pop(caller, None)
    return world


def _begin(
    find_store: Callable[[], Any],
    caller: tuple[str, int],
    place: Place,
    timeout_s: float,
    stop: threading.Event | None,
    hierarchy_from: int,
) -> Opening[GenerationOfRanks]:
    """Start to meet the other ranks and to connect with them."""
    channel, _ = caller
    dist = sys.modules["torch.distributed"]
    end_s = time.monotonic() + timeout_s
    meetings: list[Meeting] = []

    def meet() -> Roll:
        store = dist.PrefixStore(f"ranklog/{channel}", find_store())
        # If the groups cannot be built, the next try needs a roll, and so keys, of its own.
        meeting = Meeting(store, place, *_tries.pop(caller, (new_nonce(), None)))
        try:
            roll = meeting.meet(end_s - time.monotonic(), stop)
        except BaseException:
            _tries[caller] = meeting.nonce, meeting.answered
            raise
        meetings.append(meeting)
        return roll

    def connect(roll: Roll) -> GenerationOfRanks:
        limit_s = max(timeout_s, MESH_TIMEOUT_S)
        return open_world(meetings[0], roll, timeout_s=limit_s, hierarchy_from=hierarchy_from)

    return Opening(meet, connect)


_tries: dict[tuple[str, int], tuple[str, str | None]] = {}
"""The nonce of a rank that has not met the others yet, and the roll that it answered, by channel and rank."""
_openings: dict[tuple[str, int], Opening[GenerationOfRanks]] = {}
"""Tries that have no result yet, by channel and rank."""


def _clone_of_default_store(dist: ModuleType) -> Any:
    # There is no public access to the default store; a separate store would need a port that all ranks agree on.
    store = dist.distributed_c10d._get_default_store()
    clone = getattr(store, "clone", None)
    return store if clone is None else clone()
