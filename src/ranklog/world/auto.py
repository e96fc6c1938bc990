"""Finds by itself what joins the ranks: the strategy ``auto``.

What is initialised in this process counts first, asked anew each time, so that a group may come after the logger:
torch.distributed (DeepSpeed and Ray Train's TorchTrainer use it), Horovod, Ray Train, MPI. Before that the launcher's
variables tell the place. Imports none of these packages.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ranklog.abc import Strategy, World
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world import horovod, mpi, ray, torch
from ranklog.world.place.containers import checked_place
from ranklog.world.place.detect import detect_place, is_forced_single
from ranklog.world.place.reconcile import with_given_rank
from ranklog.world.single import SingleStrategy

TORCH_GRACE_S = 1.0
"""So long after the logger a torch program that has initialised MPI may initialise the group that it trains with."""


class AutoStrategy:
    """Ranks of whatever is initialised, else those that the launcher tells.

    Args:
        rank: The rank that the user says this process has; None to find it.
    """

    def __init__(self, rank: int | None = None) -> None:
        self.rank = rank
        self._created_s = time.monotonic()
        self._over_mpi: Strategy | None = None

    @property
    def name(self) -> str:
        """Of the strategy that is used, or ``auto`` while none is known."""
        chosen = self._chosen()
        return "auto" if chosen is None else chosen.name

    def place(self) -> Place:
        """This process's place.

        Raises:
            InvalidArgumentError: the given rank is another one.
            LaunchError: the launcher's variables are needed and incomplete.
        """
        found = initialised_place()
        if found is not None:
            return with_given_rank(found, self.rank, detected=True)
        if is_forced_single(os.environ) or ray.in_ray_worker():
            # A Ray worker inherits the variables of what started the node's daemon: they are not its own.
            return SingleStrategy(self.rank).place()
        found = detect_place(os.environ) if self.rank is not None else checked_place(os.environ)
        return with_given_rank(found, self.rank, detected=found.launcher != "single")

    def ready(self) -> bool:
        """Whether something is initialised that joins ranks."""
        return self._chosen() is not None

    def prepare(self) -> None:
        """Have MPI's ranks make a communicator of ranklog's own, where they are joined by MPI; see `Strategy`."""
        chosen = self._chosen()
        if isinstance(chosen, mpi.MpiStrategy):
            chosen.prepare()

    @property
    def progress(self) -> Callable[[], None] | None:
        """What the training thread must call; see `Strategy`."""
        found: Callable[[], None] | None = getattr(self._chosen(), "progress", None)
        return found

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Open a communicator over what is initialised now."""
        chosen = self._chosen()
        if isinstance(chosen, mpi.MpiStrategy) and self._over_mpi is None:
            grace_s = self._created_s + TORCH_GRACE_S - time.monotonic()
            if grace_s > 0 and torch.distributed_module() is not None:
                time.sleep(min(grace_s, timeout_s))
                chosen = self._chosen()
            # Kept from here on: MPI's ranks meet step by step, and one that left half-way would be waited for.
            if isinstance(chosen, mpi.MpiStrategy):
                self._over_mpi = chosen
        if chosen is None:
            raise WorldError(
                f"{self.place()}: nothing is initialised that joins the ranks: call torch.distributed."
                "init_process_group, horovod.torch.init or what else this program trains with, or name the strategy"
            )
        return chosen.connect(channel=channel, timeout_s=timeout_s, stop=stop)

    def _chosen(self) -> Strategy | None:
        if is_forced_single(os.environ):
            return SingleStrategy(self.rank)
        if self._over_mpi is not None:
            return self._over_mpi
        return next((strategy(self.rank) for module, strategy in _runtimes() if module.initialised_place()), None)


def _runtimes() -> Sequence[tuple[Any, Callable[[int | None], Strategy]]]:
    """What may be initialised, in the order in which it counts."""
    others = ((torch, torch.TorchStrategy), (horovod, horovod.HorovodStrategy), (mpi, mpi.MpiStrategy))
    of_ray = (ray, ray.RayStrategy)
    # In a worker of Ray Train the group's variables may be those of what started the node's daemon.
    return (of_ray, *others) if ray.in_ray_worker() else (*others[:2], of_ray, others[2])


def initialised_place() -> Place | None:
    """Place by what is initialised in this process, None where nothing is that joins several ranks."""
    if is_forced_single(os.environ):
        return None
    for module, _ in _runtimes():
        found: Place | None = module.initialised_place()
        if found is not None:
            return found
    return None
