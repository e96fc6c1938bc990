"""The strategy ``auto``: uses whichever runtime is initialised in this process.

It looks for torch.distributed (also used by DeepSpeed and Ray Train's TorchTrainer), Horovod, Ray Train and MPI. It
looks again at each call, so a group may be initialised after the logger. Until then the launcher's variables give the
place. None of these packages is imported.
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
"""Seconds to wait for `init_process_group` after the logger opened, if MPI is already initialised."""


class AutoStrategy:
    """Ranks of the initialised runtime, or else of the launcher.

    Args:
        rank: Rank of this process according to the user; None to detect it.
    """

    def __init__(self, rank: int | None = None) -> None:
        self.rank = rank
        self._created_s = time.monotonic()
        self._over_mpi: Strategy | None = None

    @property
    def name(self) -> str:
        """Name of the strategy in use; ``auto`` while there is none."""
        chosen = self._chosen()
        return "auto" if chosen is None else chosen.name

    def place(self) -> Place:
        """This process's place.

        Raises:
            InvalidArgumentError: the given rank differs.
            LaunchError: the launcher's variables are needed but incomplete.
        """
        found = initialised_place()
        if found is not None:
            return with_given_rank(found, self.rank, detected=True)
        if is_forced_single(os.environ) or ray.in_ray_worker():
            # A Ray worker inherits the variables of the node's daemon; they do not describe the worker.
            return SingleStrategy(self.rank).place()
        found = detect_place(os.environ) if self.rank is not None else checked_place(os.environ)
        return with_given_rank(found, self.rank, detected=found.launcher != "single")

    def ready(self) -> bool:
        """Return whether a runtime that connects ranks is initialised."""
        return self._chosen() is not None

    def prepare(self) -> None:
        """If MPI connects the ranks, create a private communicator; see `Strategy`."""
        chosen = self._chosen()
        if isinstance(chosen, mpi.MpiStrategy):
            chosen.prepare()

    @property
    def progress(self) -> Callable[[], None] | None:
        """Function that the training thread must call; see `Strategy`."""
        found: Callable[[], None] | None = getattr(self._chosen(), "progress", None)
        return found

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Open a communicator over the runtime that is initialised now."""
        chosen = self._chosen()
        if isinstance(chosen, mpi.MpiStrategy) and self._over_mpi is None:
            grace_s = self._created_s + TORCH_GRACE_S - time.monotonic()
            if grace_s > 0 and torch.distributed_module() is not None:
                time.sleep(min(grace_s, timeout_s))
                chosen = self._chosen()
            # Keep this choice: MPI ranks connect step by step, and the others would wait for one that left half-way.
            if isinstance(chosen, mpi.MpiStrategy):
                self._over_mpi = chosen
        if chosen is None:
            raise WorldError(
                f"{self.place()}: no process group is initialised: call torch.distributed.init_process_group,"
                " horovod.torch.init or the equivalent of your framework, or name the strategy"
            )
        return chosen.connect(channel=channel, timeout_s=timeout_s, stop=stop)

    def _chosen(self) -> Strategy | None:
        if is_forced_single(os.environ):
            return SingleStrategy(self.rank)
        if self._over_mpi is not None:
            return self._over_mpi
        return next((strategy(self.rank) for module, strategy in _runtimes() if module.initialised_place()), None)


def _runtimes() -> Sequence[tuple[Any, Callable[[int | None], Strategy]]]:
    """Return the runtimes that may be initialised, in order of precedence."""
    others = ((torch, torch.TorchStrategy), (horovod, horovod.HorovodStrategy), (mpi, mpi.MpiStrategy))
    of_ray = (ray, ray.RayStrategy)
    # In a Ray worker, the variables behind the other groups may come from the process that started the daemon.
    return (of_ray, *others) if ray.in_ray_worker() else (*others[:2], of_ray, others[2])


def initialised_place() -> Place | None:
    """Return the place in the runtime that is initialised; None if no runtime connects several ranks."""
    if is_forced_single(os.environ):
        return None
    for module, _ in _runtimes():
        found: Place | None = module.initialised_place()
        if found is not None:
            return found
    return None
