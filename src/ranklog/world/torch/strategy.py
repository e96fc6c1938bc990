"""Ranks of torch.distributed: separate groups, next to the user's.

Needs an initialised default group, and only uses its store, its rank and its size. No call of the user's group is made.
A rank that never opens a logger therefore only delays the ranks that wait here, up to their time limit. The store is
cloned, so that waiting does not block the main thread's use of it. The default group may have any backend; values are
combined on the CPU. torch is only used if the program has imported it. Below `HIERARCHY_FROM_RANKS` ranks, or on one
node, all ranks form one group; otherwise they are combined node by node.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from ranklog.abc import Floats, ReduceOp, World
from ranklog.model.errors import InvalidArgumentError, WorldError
from ranklog.model.place import Place
from ranklog.world.place.detect import detect_place
from ranklog.world.place.reconcile import add_node_facts, with_given_rank
from ranklog.world.shutdown import PROCESS_ENDING
from ranklog.world.torch.gloo import GlooGroup
from ranklog.world.torch.hierarchy import HIERARCHY_FROM_RANKS, HierarchicalWorld, layout

MESH_TIMEOUT_S = 20.0
_FIRST_POLL_S = 0.005
_LAST_POLL_S = 0.1
_NAMED_RANKS = 8


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


class TorchWorld:
    """All ranks as one gloo group.

    Args:
        group: The group of all ranks.
        place: This rank in it.
    """

    def __init__(self, group: GlooGroup, place: Place) -> None:
        self._group = group
        self._place = place

    @property
    def place(self) -> Place:
        """Place of this rank in the default group."""
        return self._place

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine equally long vectors elementwise."""
        return self._group.all_reduce(values, op, timeout_s)

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return the bytes of every rank."""
        return self._group.all_gather(data, timeout_s)

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every rank has called."""
        self._group.all_reduce(np.zeros(1), "sum", timeout_s)

    def close(self) -> None:
        """Release the group."""
        self._group.close()


def connect_torch(
    place: Place,
    *,
    channel: str,
    timeout_s: float,
    stop: threading.Event | None = None,
    hierarchy_from: int = HIERARCHY_FROM_RANKS,
) -> World:
    """Open gloo groups over the default group's store; see `Strategy.connect`.

    A rank counts once per channel, so a call that timed out may be repeated.

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
) -> World:
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
    dist = sys.modules["torch.distributed"]
    end_s = time.monotonic() + timeout_s
    try:
        # torchrun's agent keeps its store over restarts, including the keys of the previous attempt.
        store = dist.PrefixStore(f"ranklog/{place.attempt}/{channel}", find_store())
        by_node = place.world_size >= hierarchy_from
        _await_all(store, place, end_s - time.monotonic(), stop, publish_node=by_node)
        # All ranks are on their way now, so the caller's remaining time no longer matters.
        limit_s = max(timeout_s, MESH_TIMEOUT_S)
        nodes = _nodes(store, place) if by_node else [0]
        if len(set(nodes)) == 1:
            everyone = range(place.world_size)
            return TorchWorld(GlooGroup(dist.PrefixStore("gloo", store), everyone, place.rank, limit_s), place)
        groups = [
            GlooGroup(
                dist.PrefixStore(f"gloo/{level.number}/{level.members[0]}", store), level.members, place.rank, limit_s
            )
            for level in layout(place.rank, nodes)
        ]
        return HierarchicalWorld(place, groups, len(layout(0, nodes)))
    except RuntimeError as error:
        if isinstance(error, WorldError):
            raise
        reason = str(error).strip().splitlines()[0]
        raise WorldError(f"{place}: no communicator could be opened: {reason}") from error


def _clone_of_default_store(dist: ModuleType) -> Any:
    # There is no public access to the default store; a separate store would need a port that all ranks agree on.
    store = dist.distributed_c10d._get_default_store()
    clone = getattr(store, "clone", None)
    return store if clone is None else clone()


def _await_all(store: Any, place: Place, timeout_s: float, stop: threading.Event | None, *, publish_node: bool) -> None:
    end_s = time.monotonic() + timeout_s
    if publish_node:
        store.set(f"node/{place.rank}", f"{socket.gethostname()}/{place.node_rank}")
    # Counted only once, even if this rank retries: the counter counts ranks.
    if store.add(f"here/{place.rank}", 1) == 1 and store.add("count", 1) == place.world_size:
        store.set("complete", "1")
    pause_s = _FIRST_POLL_S
    while not store.check(["complete"]):
        left_s = end_s - time.monotonic()
        if left_s <= 0 or PROCESS_ENDING.is_set() or (stop is not None and stop.is_set()):
            missing = place.world_size - store.add("count", 0)
            raise WorldError(f"{missing} of {place.world_size} ranks did not join{_name_missing(store, place)}")
        pause_s = min(pause_s, left_s)
        if stop is None:
            time.sleep(pause_s)
        else:
            stop.wait(pause_s)
        pause_s = min(pause_s * 1.5, _LAST_POLL_S)


def _nodes(store: Any, place: Place) -> list[int]:
    """Return the node number of each rank. Rank 0 reads all names and writes one list, so the others read one key."""
    if place.is_main:
        names = [bytes(name) for name in store.multi_get([f"node/{rank}" for rank in range(place.world_size)])]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        store.set("nodes", msgspec.msgpack.encode([numbers[name] for name in names]))
    return msgspec.msgpack.decode(bytes(store.get("nodes")), type=list[int])


def _name_missing(store: Any, place: Place) -> str:
    """Name some of the missing ranks. Each takes one request to the store, so it does not check all of a large job."""
    asked = range(min(place.world_size, 64))
    missing = [str(rank) for rank in asked if not store.check([f"here/{rank}"])][:_NAMED_RANKS]
    return f": rank {', '.join(missing)}" if missing else ""
