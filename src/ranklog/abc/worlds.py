"""The ports through which ranks communicate: a `Strategy` finds this process's place and opens a `World`.

Collectives move flat float64 buffers and bytes; they know nothing about records. Every rank makes the same calls in
the same order, from one thread per world. Each call blocks for at most about its ``timeout_s``. Any failure raises
`WorldError`. A world that raised once stays broken: on this rank at once, on the other ranks at their next call.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from ranklog.model.place import Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"
"""Quoted, because every logger imports the ports, and `import ranklog` does not load numpy."""
ReduceOp = Literal["sum", "min", "max"]


class World(Protocol):
    """All ranks that log together, as seen from one of them."""

    @property
    def place(self) -> Place:
        """Rank and world size of this communicator."""

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine vectors of equal length elementwise; returns a new vector, the same on every rank."""

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return the bytes of every rank, in rank order. Lengths may differ and may be 0."""

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every rank has called this."""

    def close(self) -> None:
        """Release the communicator. May be called twice, and after an error."""


@runtime_checkable
class RegroupingWorld(World, Protocol):
    """A world from which the ranks that still answer can form a new one, after a call failed or when ranks return.

    Each new world has a number, its generation, and connections of its own. A message of one generation never reaches
    another. Rank 0 decides who belongs to a generation and is always a member, so without rank 0 there is no new one.
    """

    @property
    def generation(self) -> int:
        """0 for the world that `Strategy.connect` opened, then one more each time."""

    @property
    def members(self) -> tuple[int, ...]:
        """Global ranks in this world, ascending; `all_gather` returns the bytes of the members in this order."""

    def regroup(self, *, timeout_s: float, stop: threading.Event | None = None) -> RegroupingWorld:
        """Leave this world and open the next generation with the ranks that call this within about the time limit.

        Rank 0 waits until every rank of the first world has called, or until the time limit. A rank that calls later
        is not in this generation: it waits for the next one that rank 0 opens, again for about its time limit.

        Raises:
            WorldError: rank 0 opened no generation with this rank in time. The caller may try again.
        """

    def rank_waits_to_join(self) -> bool:
        """On rank 0: whether a rank outside of this generation has called `regroup`. Cheap; never blocks for long."""


@runtime_checkable
class RankProvider(Protocol):
    """An object of another library that knows its rank, as itwinai's strategies do."""

    def global_rank(self) -> int:
        """Rank of this process."""

    def global_world_size(self) -> int:
        """Number of processes."""


class Strategy(Protocol):
    """Finds this process's place and opens a communicator.

    A strategy can have two more members. ``progress`` is a function without arguments, for a communicator that only
    the training thread may use: the training thread calls it often, and it returns at once. ``prepare`` is a method
    that the training thread calls when it opens a logger.
    """

    @property
    def name(self) -> str:
        """The name that users give as ``strategy=``."""

    def place(self) -> Place:
        """This process's place, from the initialised framework or the launcher's variables."""

    def ready(self) -> bool:
        """Whether `connect` can be called now, for example because torch.distributed is initialised."""

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        """Open a communicator; blocks until every rank has called with the same channel.

        Args:
            channel: Name of this communicator, the same on every rank and used once per job.
            timeout_s: Time limit.
            stop: Set by another thread to give up early.

        Raises:
            WorldError: not every rank called in time, or ``stop`` was set; the message names the missing ranks. The
                caller tries again until the time for the first round is over. After any other exception, rank 0
                continues alone at once.
        """


class SpillStore(Protocol):
    """Where a rank keeps what it can no longer send to rank 0: its spill file."""

    def write(self, rendezvous: str, packet: bytes) -> None:
        """Append a packet; may raise any error if it cannot.

        Args:
            rendezvous: Name of the connection between the ranks that broke; equal on all ranks.
            packet: Encoded values, opaque to the store.
        """

    def sync(self) -> bool:
        """Ask the disk to keep all packets; returns whether it did. Does not raise."""

    def end(self) -> None:
        """Close the file; nothing more will be written."""
