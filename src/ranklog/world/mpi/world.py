"""A world over MPI: ranks join a channel, then combine vectors and bytes up and down a binomial tree.

In: a communicator. Out: a `World` per channel. A parent adds its children's values to its own in rank order, and rank
0's total comes down again. A sum is therefore equal on every rank to the last bit, with any MPI. Nothing here blocks;
see `ranklog.world.mpi.executor`.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from ranklog.abc import Floats, ReduceOp
from ranklog.model.errors import WorldError
from ranklog.model.place import Place
from ranklog.world.mpi.executor import Executor, OverdueError
from ranklog.world.mpi.messages import Links, Message, Steps, parent_of

Combine: TypeAlias = Callable[[bytes, bytes], bytes]

_JOIN_PAUSE_S = 0.05
_CALL_PAUSE_S = 0.005
_NAMED_RANKS = 8

_JOIN_CHANNEL = 0
"""Channel on which ranks join; rank 0 numbers the other channels."""

_JOIN, _GO, _LEFT, _BROKEN, _GATHER, _BARRIER, _SUM, _MIN, _MAX = range(1, 10)

_KIND = {"sum": _SUM, "min": _MIN, "max": _MAX}
_COMBINE = {"sum": np.add, "min": np.minimum, "max": np.maximum}

_DIGEST_BYTES = 16
_RANKS_AT_ONCE = 900
_LENGTH = struct.Struct("<Q")


class _ReportedError(WorldError):
    """An error that a neighbour reported."""


class Hub:
    """Joins the ranks of one communicator on channels.

    Args:
        mpi: The module ``mpi4py.MPI``.
        links: Connections to this rank's neighbours.
        executor: Runs the calls.

    Attributes:
        used: Whether this rank has begun to wait for others here.
    """

    def __init__(self, mpi: Any, links: Links, executor: Executor) -> None:
        self.error_type: type[Exception] = mpi.Exception
        self.links = links
        self.executor = executor
        self.used = False
        self._joined: defaultdict[bytes, set[int]] = defaultdict(set)
        self._reported: defaultdict[bytes, set[int]] = defaultdict(set)
        self._numbers: dict[bytes, int] = {}

    def open(self, place: Place, channel: str, timeout_s: float, stop: threading.Event | None) -> MpiWorld:
        """Wait for all ranks on a channel; see `ranklog.abc.Strategy.connect`."""
        self.used = True
        digest = hashlib.sha256(channel.encode()).digest()[:_DIGEST_BYTES]
        try:
            number = self.executor.run(self._join(digest), timeout_s=timeout_s, pause_s=_JOIN_PAUSE_S, stop=stop)
        except OverdueError:
            raise WorldError(f"{place}: not all ranks joined: {self._missing(digest)}") from None
        except WorldError as error:
            raise WorldError(f"{place}: {error}") from None
        except self.error_type as error:
            raise WorldError(f"{place}: MPI refused: {error}") from error
        return MpiWorld(self, place, number)

    def _join(self, digest: bytes) -> Steps[int]:
        joined, reported = self._joined[digest], self._reported[digest]
        joined.add(self.links.rank)
        while digest not in self._numbers:
            came = self._receive()
            new = sorted(joined - reported)
            if self.links.parent is None:
                if len(joined) == self.links.size:
                    self._go(digest, len(self._numbers) + 1)
            else:
                for start in range(0, len(new), _RANKS_AT_ONCE):
                    ranks = np.array(new[start : start + _RANKS_AT_ONCE], dtype="<u4").tobytes()
                    self.links.send_short(self.links.parent, _JOIN_CHANNEL, Message(_JOIN, 0, digest + ranks))
                reported.update(new)
            if digest not in self._numbers:
                yield came
        return self._numbers[digest]

    def _receive(self) -> bool:
        came = self.links.poll()
        for peer in self.links.neighbours:
            while (message := self.links.arrived(peer, _JOIN_CHANNEL)) is not None:
                digest, ranks = message.data[:_DIGEST_BYTES], message.data[_DIGEST_BYTES:]
                if message.kind == _GO:
                    self._go(digest, message.number)
                else:
                    self._joined[digest].update(np.frombuffer(ranks, dtype="<u4").tolist())
        return came

    def _go(self, digest: bytes, number: int) -> None:
        self._numbers[digest] = number
        for child in self.links.children:
            self.links.send_short(child, _JOIN_CHANNEL, Message(_GO, number, digest))

    def _missing(self, digest: bytes) -> str:
        """Name the ranks that did not join. Nothing is known about ranks whose messages come through one of these."""
        joined = self._joined[digest]
        mine = self.links.subtree(self.links.rank)
        missing = [rank for rank in mine if rank not in joined and parent_of(rank) in joined]
        if not missing:
            return f"rank {self.links.parent} did not join, or waits for other ranks"
        named = ", ".join(map(str, missing[:_NAMED_RANKS]))
        return f"no sign of rank {named}{' and others' if missing[_NAMED_RANKS:] else ''}"


class MpiWorld:
    """All ranks of a communicator on one channel.

    Args:
        hub: Where the ranks joined.
        place: This rank.
        channel: Number that rank 0 gave to the channel.
    """

    def __init__(self, hub: Hub, place: Place, channel: int) -> None:
        self._links = hub.links
        self._executor = hub.executor
        self._error_type = hub.error_type
        self._place = place
        self._channel = channel
        self._calls = 0
        self._waiting: list[int] = []
        self._closed = False
        self._trouble: str | None = None

    @property
    def place(self) -> Place:
        """Place of this rank."""
        return self._place

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        """Combine equally long vectors elementwise, in rank order."""
        if not len(values):
            return values.copy()
        combine = _COMBINE[op]

        def merge(mine: bytes, theirs: bytes) -> bytes:
            if len(mine) != len(theirs):
                raise WorldError(f"vectors of different lengths: {len(mine) // 8} and {len(theirs) // 8} values")
            with np.errstate(all="ignore"):
                return bytes(combine(np.frombuffer(mine), np.frombuffer(theirs)).tobytes())

        given = np.ascontiguousarray(values, dtype=np.float64).tobytes()
        return np.frombuffer(self._call(_KIND[op], given, merge, timeout_s)).copy()

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        """Return the bytes of every rank."""
        # A subtree holds consecutive ranks, so joining in rank order keeps all of them in rank order.
        joined = self._call(_GATHER, _LENGTH.pack(len(data)) + data, bytes.__add__, timeout_s)
        return list(_split(joined))

    def barrier(self, *, timeout_s: float) -> None:
        """Return when every rank has called."""
        self._call(_BARRIER, b"", bytes.__add__, timeout_s)

    def close(self) -> None:
        """Tell the neighbours that this rank has left."""
        if not self._closed:
            self._closed = True
            if self._trouble is None:
                self._notify(_LEFT, "")
            self._trouble = self._trouble or f"{self._place}: this communicator is closed"

    def _call(self, kind: int, data: bytes, combine: Combine, timeout_s: float) -> bytes:
        if self._trouble is not None:
            raise WorldError(self._trouble)
        self._calls += 1
        try:
            return self._executor.run(self._exchange(kind, data, combine), timeout_s=timeout_s, pause_s=_CALL_PAUSE_S)
        except OverdueError:
            text = f"{self._place}: no answer from {self._awaited()} within {timeout_s:g} s"
        except _ReportedError as error:
            text = str(error)
        except WorldError as error:
            text = f"{self._place}: {error}"
        except self._error_type as error:
            text = f"{self._place}: MPI refused: {error}"
        self._trouble = text
        self._notify(_BROKEN, text)
        raise WorldError(text)

    def _exchange(self, kind: int, data: bytes, combine: Combine) -> Steps[bytes]:
        self._waiting = list(self._links.children)
        came: dict[int, bytes] = {}
        while self._waiting:
            moved = self._links.poll()
            for child in tuple(self._waiting):
                if (message := self._links.arrived(child, self._channel)) is not None:
                    came[child] = self._content(child, message, kind)
                    self._waiting.remove(child)
            if self._waiting:
                yield moved
        for child in self._links.children:
            data = combine(data, came[child])
        parent = self._links.parent
        if parent is not None:
            self._waiting = [parent]
            yield from self._links.send(parent, self._channel, Message(kind, self._calls, data))
            while (message := self._links.arrived(parent, self._channel)) is None:
                yield self._links.poll()
            data = self._content(parent, message, kind)
        for child in self._links.children:
            self._waiting = [child]
            yield from self._links.send(child, self._channel, Message(kind, self._calls, data))
        return data

    def _content(self, peer: int, message: Message, kind: int) -> bytes:
        if message.kind == _LEFT:
            raise WorldError(f"rank {peer} has left")
        if message.kind == _BROKEN:
            raise _ReportedError(message.data.decode(errors="replace"))
        if (message.kind, message.number) != (kind, self._calls):
            raise WorldError(f"rank {peer} made a different call than this rank: the ranks are out of step")
        return message.data

    def _awaited(self) -> str:
        if self._waiting == [self._links.parent]:
            return f"rank {self._waiting[0]} or the ranks that it waits for"
        named = [_names(self._links.subtree(child)) for child in self._waiting[:_NAMED_RANKS]]
        return f"rank {', '.join(named)}"

    def _notify(self, kind: int, text: str) -> None:
        """Notify the neighbours, so that they need not wait for their time limit."""

        def send() -> None:
            self._links.close_channel(self._channel)
            for peer in self._links.neighbours:
                try:
                    self._links.send_short(peer, self._channel, Message(kind, self._calls, text.encode()[:1000]))
                except self._error_type:
                    return

        self._executor.submit(send)


def _names(ranks: range) -> str:
    return str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} (through which {ranks[0]} to {ranks[-1]} answer)"


def _split(joined: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(joined):
        end = start + _LENGTH.size + _LENGTH.unpack_from(joined, start)[0]
        yield joined[start + _LENGTH.size : end]
        start = end
