"""Strategies by name: how a process finds its place and opens a communicator.

``single`` trains by itself. ``torch`` goes by an initialised torch.distributed group, before that by the launcher's
variables. ``auto`` is ``single`` with ``RANKLOG_STRATEGY=single``, ``torch`` where a group is initialised or a
launcher started several processes, else ``single``. A rank given by the user must be the one of the group, before
there is one the launcher's; it counts by itself where neither tells.
"""

from __future__ import annotations

import os
import threading

import msgspec

from ranklog.model.errors import InvalidArgumentError, LaunchError, WorldError
from ranklog.model.place import Place
from ranklog.world.base import Strategy, World
from ranklog.world.launch import STRATEGY_VARIABLE, detect_place, stands_alone
from ranklog.world.single import SingleWorld
from ranklog.world.torch import connect_torch, group_rank_and_size

NAMES = ("auto", "single", "torch")


class SingleStrategy(msgspec.Struct, frozen=True):
    """This process trains by itself; a given rank only decides whether it writes."""

    rank: int | None = None
    name: str = "single"

    def place(self) -> Place:
        """Rank 0 of 1, or the given rank."""
        alone = detect_place({**os.environ, STRATEGY_VARIABLE: "single"})
        return _with_rank(alone, self.rank)

    def ready(self) -> bool:
        """Always."""
        return True

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """A world of one; returns at once."""
        return SingleWorld()


class TorchStrategy(msgspec.Struct, frozen=True):
    """Ranks of torch.distributed's default group."""

    rank: int | None = None
    name: str = "torch"

    def place(self) -> Place:
        """The group's place once it is initialised, before that the launcher's.

        Raises:
            InvalidArgumentError: the given rank is another one.
        """
        group = _group_place()
        found = group or detect_place(os.environ)
        told = group is not None or found.launcher != "single"
        if told and self.rank not in (None, found.rank):
            raise InvalidArgumentError(
                f"rank={self.rank} was given, but this process is {found}: leave rank out, or give dist.get_rank()."
                f" If this process trains by itself, set {STRATEGY_VARIABLE}=single"
            )
        return _with_rank(found, self.rank)

    def ready(self) -> bool:
        """Whether torch.distributed is initialised."""
        return group_rank_and_size() is not None

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """A gloo group of ranklog's own over the default group's store."""
        try:
            place = self.place()
        except InvalidArgumentError as error:  # a group that was initialised later contradicts the given rank
            raise WorldError(str(error)) from error
        return connect_torch(place, channel=channel, timeout_s=timeout_s, stop=stop)


def resolve_strategy(strategy: str | Strategy = "auto", rank: int | None = None) -> Strategy:
    """Find the strategy of that name; one that is given as an object is returned as it is.

    Args:
        strategy: A name of `NAMES`, or a strategy.
        rank: The rank that the user says this process has; None to find it.

    Raises:
        InvalidArgumentError: for an unknown name, a negative rank, or one that the group or launcher contradicts.
        LaunchError: the launcher's variables are needed and incomplete.
    """
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 0):
        raise InvalidArgumentError(f"rank={rank!r} is not allowed: give an int of 0 or above, or None to find it")
    if not isinstance(strategy, str):
        return strategy
    if strategy not in NAMES:
        raise InvalidArgumentError(
            f"strategy={strategy!r} is not known: give one of {', '.join(NAMES)}, or an object with place, ready"
            " and connect"
        )
    if strategy == "auto":
        strategy = "torch" if _trains_with_others() else "single"
    if strategy == "single":
        return SingleStrategy(rank)
    found = TorchStrategy(rank)
    if rank is not None:
        found.place()  # refuses a rank that is contradicted, here in the caller
    return found


def _trains_with_others() -> bool:
    if stands_alone(os.environ):
        return False
    return group_rank_and_size() is not None or detect_place(os.environ).world_size > 1


def _group_place() -> Place | None:
    """Place in the default group; node facts from the launcher where it means the same ranks."""
    found = group_rank_and_size()
    if found is None:
        return None
    rank, size = found
    try:
        launched = detect_place(os.environ)
    except LaunchError:
        launched = Place()
    if (launched.rank, launched.world_size) == (rank, size):
        return launched
    # Nobody tells which ranks share a node (torch.multiprocessing.spawn): taken as one.
    return Place(
        rank=rank,
        world_size=size,
        local_rank=rank,
        local_world_size=size,
        launcher="torch",
        job_id=launched.job_id,
        attempt=launched.attempt,
    )


def _with_rank(place: Place, rank: int | None) -> Place:
    if rank is None or rank == place.rank:
        return place
    return msgspec.structs.replace(place, rank=rank, world_size=max(place.world_size, rank + 1))
