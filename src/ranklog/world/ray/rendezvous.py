"""Rendezvous service for ranks without a process group: takes every rank's bytes and answers all ranks at once.

Written for one asyncio loop, as Ray's actors have; independent of Ray and of a network. In: calls of all ranks with
their time limits. Out: the combined values, in rank order, or one sentence that describes an error. A channel that
failed stays failed, for every rank.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ranklog.abc import Floats

GATHER = "gather"
_COMBINE: dict[str, Callable[[Floats, Floats], Floats]] = {"sum": np.add, "min": np.minimum, "max": np.maximum}


class Rendezvous:
    """Connects all ranks of a group.

    Args:
        size: Number of ranks.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._channels: dict[str, _Channel] = {}

    async def join(self, channel: str, rank: int, process: str, limit_s: float) -> str:
        """Wait for all ranks; return an error message, or an empty string."""
        if channel not in self._channels:
            self._channels[channel] = _Channel(self._size)
        return await self._channels[channel].join(rank, process, limit_s)

    async def exchange(self, channel: str, rank: int, call: str, data: bytes, limit_s: float) -> list[bytes] | str:
        """Return every rank's bytes, or their combination; or an error message."""
        return await self._channels[channel].exchange(rank, call, data, limit_s)

    async def leave(self, channel: str, rank: int) -> None:
        """End the channel for all ranks."""
        if channel in self._channels and self._channels[channel].leave(rank):
            del self._channels[channel]


class _Channel:
    """One communicator: all ranks join, then make one exchange after another, until the first error."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: dict[int, object] = {}
        self._processes: dict[int, str] = {}
        self._complete = asyncio.Event()
        self._given: dict[int, tuple[str, bytes]] = {}
        self._answer: asyncio.Future[list[bytes] | str] = asyncio.get_running_loop().create_future()
        self._broken = ""
        self._left: set[int] = set()

    async def join(self, rank: int, process: str, limit_s: float) -> str:
        if self._complete.is_set():
            if self._processes[rank] != process:
                self._break(f"rank {rank} was restarted")
            return self._broken
        ticket = self._waiting[rank] = object()
        self._processes[rank] = process
        if len(self._waiting) == self._size:
            self._complete.set()
        try:
            await asyncio.wait_for(self._complete.wait(), limit_s)
        except asyncio.TimeoutError:
            if self._complete.is_set():
                return self._broken
            missing = self._missing(self._waiting)
            # Only waiting ranks count: a rank that gave up may connect to the others through a torch group instead.
            if self._waiting.get(rank) is ticket:
                del self._waiting[rank]
            return missing
        return self._broken

    async def exchange(self, rank: int, call: str, data: bytes, limit_s: float) -> list[bytes] | str:
        if self._broken:
            return self._broken
        answer = self._answer
        self._given[rank] = (call, data)
        if len(self._given) == self._size:
            given = [self._given[r] for r in range(self._size)]
            self._given, self._answer = {}, asyncio.get_running_loop().create_future()
            answer.set_result(self._combined(given))
        await asyncio.wait([answer], timeout=limit_s)
        if not answer.done():
            self._break(self._missing(self._given))
        return answer.result()

    def leave(self, rank: int) -> bool:
        """Leave; return whether all ranks have left."""
        self._break(f"rank {rank} has left")
        self._left.add(rank)
        return len(self._left) == self._size

    def _combined(self, given: list[tuple[str, bytes]]) -> list[bytes] | str:
        call, data = given[0][0], [data for _, data in given]
        if any(other != call or (call != GATHER and len(each) != len(data[0])) for other, each in given):
            self._break("the ranks made different calls")
            return self._broken
        if call == GATHER:
            return data
        with np.errstate(all="ignore"):
            return [functools.reduce(_COMBINE[call], [np.frombuffer(each) for each in data]).tobytes()]

    def _missing(self, present: dict[int, Any]) -> str:
        missing = [str(rank) for rank in range(self._size) if rank not in present]
        return f"{len(missing)} of {self._size} ranks did not join: rank {', '.join(missing[:8])}"

    def _break(self, reason: str) -> None:
        self._broken = self._broken or reason
        if not self._answer.done():
            self._answer.set_result(self._broken)
