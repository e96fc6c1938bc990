"""Adapt strategy objects of other libraries, such as itwinai's.

Such an object has ``global_rank()`` and ``global_world_size()``, and optionally ``local_rank()`` and
``local_world_size()``. It trains with a runtime that ranklog knows, so the communicator is opened over the runtime that
is initialised. In: the object. Out: a `Place` and a `World`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import msgspec

from ranklog.abc import RankProvider, World
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.auto import AutoStrategy
from ranklog.world.place.detect import detect_place
from ranklog.world.place.reconcile import add_node_facts, with_given_rank
from ranklog.world.single import SingleWorld


class AdaptedStrategy:
    """A `Strategy` around an object of another library.

    Args:
        provider: The object; it may be initialised later.
        rank: Rank of this process according to the user; None to detect it.
    """

    def __init__(self, provider: RankProvider, rank: int | None = None) -> None:
        self._provider = provider
        self._rank = rank
        self._runtime = AutoStrategy()

    @property
    def name(self) -> str:
        """Name of the object's class."""
        return type(self._provider).__name__

    def place(self) -> Place:
        """Return the place that the object reports; before it is initialised, that of the launcher.

        Raises:
            InvalidArgumentError: the given rank differs.
            LaunchError: the launcher's variables are needed but incomplete.
        """
        reported = self._reported()
        found = reported or detect_place(os.environ)
        return with_given_rank(found, self._rank, detected=reported is not None or found.launcher != "single")

    def _reported(self) -> Place | None:
        try:
            rank, size = int(self._provider.global_rank()), int(self._provider.global_world_size())
        except Exception:  # each library raises its own error while it is not initialised
            return None
        if size == 1:
            return Place(launcher=self.name)
        found = add_node_facts(Place(rank=rank, world_size=size, launcher=self.name), os.environ)
        local_rank, local_size = self._number("local_rank"), self._number("local_world_size")
        if (
            local_rank is None
            or local_size is None
            or (found.local_rank, found.local_world_size) == (local_rank, local_size)
        ):
            return found
        return msgspec.structs.replace(
            found, local_rank=local_rank, local_world_size=local_size, node_count=-(-size // local_size)
        )

    def _number(self, method: str) -> int | None:
        try:
            return int(getattr(self._provider, method)())
        except Exception:  # as above; the method is optional
            return None

    def ready(self) -> bool:
        """Return whether the object knows its rank and its runtime is initialised."""
        reported = self._reported()
        return reported is not None and (reported.world_size == 1 or self._runtime.ready())

    def prepare(self) -> None:
        """See `AutoStrategy.prepare`."""
        self._runtime.prepare()

    @property
    def progress(self) -> Callable[[], None] | None:
        """Function that the training thread must call; see `Strategy`."""
        return self._runtime.progress

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Open a communicator over the runtime that is initialised."""
        reported = self.place()
        if reported.world_size == 1:
            return SingleWorld(reported)
        world = self._runtime.connect(channel=channel, timeout_s=timeout_s, stop=stop)
        got = world.place
        if (got.rank, got.world_size) != (reported.rank, reported.world_size):
            world.close()
            raise WorldError(
                f"{self.name} says rank {reported.rank} of {reported.world_size}, but the initialised runtime says"
                f' {got}: pass strategy="auto", or an object that numbers the ranks in the same way'
            )
        return world
