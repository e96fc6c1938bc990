"""A world for tests: several ranks in one process, one thread per rank.

`FakeWorld(n)` creates the ranks. Collectives wait on a condition variable, combine in rank order and keep their time
limits. As with a real communicator, an error on one rank breaks the world for all.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from ranklog.abc import Floats, ReduceOp
from ranklog.model.errors import WorldError
from ranklog.model.place import Place

_COMBINE: dict[str, Callable[[Floats, Floats], Floats]] = {"sum": np.add, "min": np.minimum, "max": np.maximum}


class Channel:
    """The exchanges of the ranks on one channel, one after another."""

    def __init__(self, ranks: Sequence[int]) -> None:
        self._ranks = ranks
        self._changed = threading.Condition()
        self._given: dict[int, dict[int, tuple[str, object]]] = {}
        self._taken: dict[int, int] = {}
        self._broken: str | None = None

    def exchange(self, rank: int, number: int, call: str, value: object, timeout_s: float) -> list[object]:
        """Give a value; return those of all ranks, in rank order."""
        size = len(self._ranks)
        with self._changed:
            given = self._given.setdefault(number, {})
            given[rank] = (call, value)
            self._changed.notify_all()
            came = self._changed.wait_for(lambda: self._broken or len(given) == size, timeout_s)
            if not came:
                missing = [r for r in self._ranks if r not in given]
                self._break(f"ranks {missing} did not call {call} within {timeout_s:g} s")
            if self._broken and len(given) < size:
                raise WorldError(self._broken)
            calls = {c for c, _ in given.values()}
            if len(calls) > 1:
                self._break(f"ranks made different calls: {sorted(calls)}")
                raise WorldError(str(self._broken))
            self._taken[number] = self._taken.get(number, 0) + 1
            if self._taken[number] == size:
                del self._given[number], self._taken[number]
            return [given[r][1] for r in self._ranks]

    def leave(self, rank: int) -> None:
        """Break the channel for all ranks."""
        with self._changed:
            self._break(f"rank {rank} has left")

    def _break(self, reason: str) -> None:
        self._broken = self._broken or reason
        self._changed.notify_all()


class FakeRank:
    """One rank's `World`."""

    def __init__(self, place: Place, channel_state: Channel) -> None:
        self._place = place
        self.channel = channel_state
        self._calls = 0
        self._closed = False

    @property
    def place(self) -> Place:
        """Place of this rank."""
        return self._place

    def _exchange(self, call: str, value: object, timeout_s: float) -> list[object]:
        if self._closed:
            raise WorldError(f"{self._place}: the communicator is closed")
        self._calls += 1
        return self.channel.exchange(self._place.rank, self._calls, call, value, timeout_s)

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine in rank order."""
        given = self._exchange(f"all_reduce({op}, {len(values)})", values.copy(), timeout_s)
        arrays = [np.asarray(value, dtype=np.float64) for value in given]
        with np.errstate(all="ignore"):  # a real communicator knows no numpy warnings
            return functools.reduce(_COMBINE[op], arrays[1:], arrays[0].copy())

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return the bytes of every rank."""
        return [value for value in self._exchange("all_gather", data, timeout_s) if isinstance(value, bytes)]

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every rank is joined."""
        self._exchange("barrier", None, timeout_s)

    def close(self) -> None:
        """Leave the channel; ranks that still wait get a `WorldError`."""
        self._closed = True
        self.channel.leave(self._place.rank)


class FakeStrategy(msgspec.Struct, frozen=True):
    """Strategy of one rank of a `FakeWorld`."""

    world: FakeWorld
    rank: int
    name: str = "fake"

    def place(self) -> Place:
        """Place of this rank."""
        return self.world.places[self.rank]

    def ready(self) -> bool:
        """Return True."""
        return True

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> FakeRank:
        """Wait for the other ranks on a channel."""
        return self.world.join(self.rank, channel=channel, timeout_s=timeout_s, stop=stop)


class FakeWorld:
    """A job of several ranks inside this process.

    Args:
        size: Number of ranks.

    Example:
        >>> job = FakeWorld(2)
        >>> print(job.strategy(1).place())
        rank 1/2 (fake)
    """

    def __init__(self, size: int) -> None:
        self.places = tuple(
            Place(rank=r, world_size=size, local_rank=r, local_world_size=size, launcher="fake") for r in range(size)
        )
        self._changed = threading.Condition()
        self._channels: dict[str, Channel] = {}
        self._joined: dict[str, set[int]] = {}

    def strategy(self, rank: int) -> FakeStrategy:
        """Return the strategy to pass as ``strategy=`` on that rank."""
        return FakeStrategy(self, rank)

    def ranks(self, channel: str = "test") -> Sequence[FakeRank]:
        """Return the worlds of all ranks on a channel, without waiting."""
        channel_state = self._channels.setdefault(channel, Channel(range(len(self.places))))
        return [FakeRank(place, channel_state) for place in self.places]

    def join(self, rank: int, *, channel: str, timeout_s: float, stop: threading.Event | None) -> FakeRank:
        """Wait for all ranks on a channel, then return the world of this one."""
        size = len(self.places)
        end_s = time.monotonic() + timeout_s
        with self._changed:
            joined = self._joined.setdefault(channel, set())
            joined.add(rank)
            self._changed.notify_all()
            while len(joined) < size:
                left_s = end_s - time.monotonic()
                if left_s <= 0 or (stop is not None and stop.is_set()):
                    missing = sorted(set(range(size)) - joined)
                    raise WorldError(f"{len(missing)} of {size} ranks did not join within {timeout_s:g} s: {missing}")
                self._changed.wait(min(left_s, 0.05))
            channel_state = self._channels.setdefault(channel, Channel(range(size)))
        return FakeRank(self.places[rank], channel_state)
