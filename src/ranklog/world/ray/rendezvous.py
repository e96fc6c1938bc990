"""Where ranks that have no group meet: a service that takes every rank's bytes and answers all of them at once.

Written for one asyncio loop, as Ray's actors have; knows neither Ray nor a network. In: calls of all ranks with their
time limits. Out: what they gave together, combined in rank order, or one sentence that says what went wrong. A channel
that went wrong stays so, for every rank.
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
    """Where all ranks of a group meet.

    Args:
        size: Number of ranks.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._channels: dict[str, _Channel] = {}

    async def join(self, channel: str, rank: int, process: str, limit_s: float) -> str:
        """Wait for all ranks; answers what went wrong, or nothing."""
        if channel not in self._channels:
            self._channels[channel] = _Channel(self._size)
        return await self._channels[channel].join(rank, process, limit_s)

    async def exchange(self, channel: str, rank: int, call: str, data: bytes, limit_s: float) -> list[bytes] | str:
        """Answer every rank's bytes, or what they make together; or what went wrong."""
        return await self._channels[channel].exchange(rank, call, data, limit_s)

    async def leave(self, channel: str, rank: int) -> None:
        """End the channel for all."""
        if channel in self._channels and self._channels[channel].leave(rank):
            del self._channels[channel]


class _Channel:
    """One communicator: first all join, then one exchange after another, until the first trouble."""

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
                self._break(f"rank {rank} was started anew")
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
            # Only ranks that wait count: one that gave up may meet the others elsewhere, through a group of torch's.
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
        """Whether nobody is left."""
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

    def _missing(self, here: dict[int, Any]) -> str:
        missing = [str(rank) for rank in range(self._size) if rank not in here]
        return f"{len(missing)} of {self._size} ranks did not come: rank {', '.join(missing[:8])}"

    def _break(self, reason: str) -> None:
        self._broken = self._broken or reason
        if not self._answer.done():
            self._answer.set_result(self._broken)
