"""A world for tests whose ranks can regroup: `FakeWorld` with generations.

A rank that calls `regroup` leaves its generation, which breaks it for all members. Rank 0 collects the ranks that call,
and opens the next generation with them. Each generation has a channel of its own, so no message of an earlier one
can reach it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import msgspec

from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.fake import Channel, FakeRank, FakeWorld


class _Generation(msgspec.Struct, frozen=True):
    """A generation: its number, its members, and their channel."""

    number: int
    members: tuple[int, ...]
    channel: Channel


class _Generations:
    """The generations of one job, and the ranks that wait for the next one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._number = 0
        self._waiting: set[int] = set()
        self._opened: dict[int, _Generation] = {}  # by rank, until it has seen it

    def join(self, rank: int, timeout_s: float, stop: threading.Event | None) -> _Generation:
        end_s = time.monotonic() + timeout_s

        def may_wait() -> bool:
            if time.monotonic() >= end_s or (stop is not None and stop.is_set()):
                return False
            self._changed.wait(0.02)
            return True

        with self._changed:
            self._opened.pop(rank, None)  # one that it gave up before it was opened
            self._waiting.add(rank)
            self._changed.notify_all()
            if rank == 0:
                while len(self._waiting) < self._size and may_wait():
                    pass
                self._open()
            while rank not in self._opened:
                if not may_wait():
                    self._waiting.discard(rank)
                    raise WorldError(f"rank 0 opened no generation within {timeout_s:g} s")
            return self._opened.pop(rank)

    def _open(self) -> None:
        self._number += 1
        members = tuple(sorted(self._waiting))
        generation = _Generation(self._number, members, Channel(members))
        self._opened.update(dict.fromkeys(members, generation))
        self._waiting.clear()
        self._changed.notify_all()

    def any_waits(self) -> bool:
        with self._changed:
            return bool(self._waiting - {0})


class RegroupingFakeRank(FakeRank):
    """One rank's world, in one generation."""

    def __init__(self, place: Place, generations: _Generations, generation: _Generation) -> None:
        super().__init__(place, generation.channel)
        self._generations = generations
        self._generation = generation

    @property
    def generation(self) -> int:
        """0 for the first world."""
        return self._generation.number

    @property
    def members(self) -> tuple[int, ...]:
        """Ranks of this generation."""
        return self._generation.members

    def regroup(self, *, timeout_s: float, stop: threading.Event | None = None) -> RegroupingFakeRank:
        """Leave this generation and join the next one that rank 0 opens."""
        self.close()
        generation = self._generations.join(self.place.rank, timeout_s, stop)
        return RegroupingFakeRank(self.place, self._generations, generation)

    def rank_waits_to_join(self) -> bool:
        """Whether a rank waits for the next generation."""
        return self._generations.any_waits()


class RegroupingFakeWorld(FakeWorld):
    """A job of several ranks inside this process, which can regroup."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._generations: dict[str, _Generations] = {}

    def ranks(self, channel: str = "test") -> Sequence[RegroupingFakeRank]:
        """Return the worlds of all ranks on a channel, without waiting."""
        return [self._regrouping(rank, channel) for rank in super().ranks(channel)]

    def join(self, rank: int, *, channel: str, timeout_s: float, stop: threading.Event | None) -> RegroupingFakeRank:
        """Wait for all ranks on a channel, then return the world of this one."""
        joined = super().join(rank, channel=channel, timeout_s=timeout_s, stop=stop)
        with self._changed:
            return self._regrouping(joined, channel)

    def _regrouping(self, rank: FakeRank, channel: str) -> RegroupingFakeRank:
        everyone = tuple(range(len(self.places)))
        generations = self._generations.setdefault(channel, _Generations(len(self.places)))
        return RegroupingFakeRank(rank.place, generations, _Generation(0, everyone, rank.channel))
