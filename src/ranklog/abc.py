"""The port through which ranks talk: a `World` is a communicator of ranklog's own, a `Strategy` opens one.

Collectives move flat float64 buffers and bytes and know no record. Every rank must make the same calls in the same
order, from one thread a world. Each call blocks at most about its `timeout_s`. Any trouble raises `WorldError`; a
world that raised once is broken for good, on this rank at once and on the others at their next call.
"""

from __future__ import annotations

import threading
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ranklog.model.place import Place

ENDING = threading.Event()
"""Set when the process ends: a call in another thread gives up at once, since what it waits for is taken down."""

Floats = NDArray[np.float64]
ReduceOp = Literal["sum", "min", "max"]


class World(Protocol):
    """All ranks that log together, as seen from one of them."""

    @property
    def place(self) -> Place:
        """Rank and world size of this communicator."""

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine equally long vectors elementwise; returns a new vector, the same on every rank."""

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return every rank's bytes, by rank; lengths may differ and be 0."""

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every rank is here."""

    def close(self) -> None:
        """Release the communicator; may be called twice, and after trouble."""


class Strategy(Protocol):
    """How this process finds its place and opens a communicator.

    A strategy whose communicator moves on only while the training thread helps has one more attribute, ``progress``:
    a function without arguments that the training thread calls often and that returns at once; None, or no such
    attribute, where a thread of its own may communicate. One that must do something in the training thread when a
    logger is opened has a method ``prepare``.
    """

    @property
    def name(self) -> str:
        """What the user writes as ``strategy=``."""

    def place(self) -> Place:
        """This process's place, from what is initialised or launched."""

    def ready(self) -> bool:
        """Whether `connect` can be tried now, for example because torch.distributed is initialised."""

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Open a communicator; blocks until every rank has called with the same channel.

        Args:
            channel: Name that this communicator has on every rank; used once in a job.
            timeout_s: Time limit.
            stop: Set from another thread to give up early.

        Raises:
            WorldError: not every rank came in time, or `stop` was set; the message names the missing ranks. It is tried
                again until the time for the first round is over. After anything else rank 0 goes on alone at once.
        """
