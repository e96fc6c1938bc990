"""Send messages between MPI ranks without disturbing the program: small, non-blocking, with receives posted ahead.

In: a communicator, which may be the user's. Out: messages of any length between a rank and its neighbours in a binomial
tree of all ranks, in order per neighbour and channel. No collective is called, so none can mix with the user's.

mpi4py receives with any tag by default, so a receive of the program could take a message of ranklog. Therefore each
rank keeps `POSTED` receives per neighbour, because MPI gives a message to the receive that was posted first. Long
messages travel in pieces, `WINDOW` at a time. Every piece is short enough to be sent at once, so no send is pending
when MPI ends. Before MPI ends, neighbours announce that they disconnect, and the receives from those that did are
cancelled. The other receives stay: a late message without a receive makes ``MPI_Finalize`` fail (MPICH 5.0), a receive
without a message does not.
"""

from __future__ import annotations

import struct
import time
from collections import Counter, defaultdict, deque
from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

Steps: TypeAlias = Generator[bool, None, T]
"""Work that never blocks. It yields when it must wait for others, and is resumed to check again. It yields whether a
message has arrived.
"""

TAG = 31_719
"""Tag of all messages; every MPI allows tags up to 32767."""
POSTED = 32
WINDOW = 14
"""Less than half of `POSTED`, because two channels may send to one neighbour at a time."""
PIECE_BYTES = 4000
"""Open MPI sends up to 4096 bytes at once within a node, including its header; other MPIs send more."""

_ACKNOWLEDGED, _DISCONNECTED = 0, 255
"""Kinds of message that this module handles; callers choose kinds between these numbers."""
DISCONNECT_S = 2.0
"""Seconds that a rank waits at its end for its neighbours to end; ``MPI_Finalize`` waits for them anyway."""

_DISCONNECT_PAUSE_S = 0.001
_HEAD = struct.Struct("<BIIQ")
_CONTENT_BYTES = PIECE_BYTES - _HEAD.size


class Message(NamedTuple):
    """A received message; the sender chooses its kind and number."""

    kind: int
    number: int
    data: bytes


class Links:
    """Connections of this rank to its neighbours in the tree of all ranks.

    Only one thread at a time may use it. The parent of a rank is the rank with its lowest bit cleared. A child sends
    for itself and for the ranks up to the next child.

    Args:
        mpi: The module ``mpi4py.MPI``, initialised.
        communicator: Communicator of all ranks.
    """

    def __init__(self, mpi: Any, communicator: Any) -> None:
        self._mpi = mpi
        self._communicator = communicator
        self.rank: int = communicator.Get_rank()
        self.size: int = communicator.Get_size()
        self.parent = parent_of(self.rank) if self.rank else None
        self.children = _children(self.rank, self.size)
        self.neighbours = [*self.children, *([] if self.parent is None else [self.parent])]
        self._posted: dict[int, deque[tuple[Any, memoryview]]] = {}
        self._sending: list[tuple[Any, bytes]] = []
        self._pieces: dict[tuple[int, int], tuple[int, int, bytearray]] = {}
        self._acknowledged: Counter[tuple[int, int]] = Counter()
        self._arrived: defaultdict[tuple[int, int], deque[Message]] = defaultdict(deque)
        self._closed_channels: set[int] = set()
        self._engaged: set[int] = set()
        self._disconnected: set[int] = set()

    def subtree(self, rank: int) -> range:
        """Return a rank and those whose messages come through it."""
        return range(rank, min(rank + (rank & -rank or self.size), self.size))

    def post(self) -> None:
        """Post the receives, on the first call. They and their memory stay until MPI has ended."""
        for peer in self.neighbours if not self._posted else ():
            memory = memoryview(self._mpi.Alloc_mem(POSTED * PIECE_BYTES))
            starts = range(0, POSTED * PIECE_BYTES, PIECE_BYTES)
            self._posted[peer] = deque(self._receive(peer, memory[start : start + PIECE_BYTES]) for start in starts)

    def _receive(self, peer: int, buffer: memoryview) -> tuple[Any, memoryview]:
        return self._communicator.Irecv([buffer, self._mpi.BYTE], source=peer, tag=TAG), buffer

    def poll(self) -> bool:
        """Receive the messages that have arrived; return whether there were any. Never blocks."""
        self.post()
        came = False
        self._sending = [each for each in self._sending if not each[0].Test()]
        status = self._mpi.Status()
        for peer, posted in self._posted.items():
            while posted[0][0].Test(status):
                buffer = posted.popleft()[1]
                piece = bytes(buffer[: status.Get_count(self._mpi.BYTE)])
                posted.append(self._receive(peer, buffer))
                self._take(peer, piece)
                came = True
        return came

    def _take(self, peer: int, piece: bytes) -> None:
        kind, channel, number, total = _HEAD.unpack_from(piece)
        self._engaged.add(peer)
        if kind == _DISCONNECTED:
            self._disconnected.add(peer)
        if kind == _DISCONNECTED or channel in self._closed_channels:
            return
        key = (peer, channel)
        if kind == _ACKNOWLEDGED:
            self._acknowledged[key] += 1
            return
        *began, data = self._pieces.setdefault(key, (kind, number, bytearray()))
        if began != [kind, number]:  # the sender gave up the earlier message
            data = bytearray()
            self._pieces[key] = (kind, number, data)
        data += piece[_HEAD.size :]
        if len(data) == total:
            del self._pieces[key]
            self._arrived[key].append(Message(kind, number, bytes(data)))
        elif len(data) % (WINDOW * _CONTENT_BYTES) == 0:
            self._send_piece(peer, channel, Message(_ACKNOWLEDGED, 0, b""), 0, 0)

    def arrived(self, peer: int, channel: int) -> Message | None:
        """Return the next message from a neighbour; None if there is none yet."""
        queue = self._arrived[peer, channel]
        return queue.popleft() if queue else None

    def send(self, peer: int, channel: int, message: Message) -> Steps[None]:
        """Send to a neighbour, in as many pieces as needed."""
        total = len(message.data)
        self._send_piece(peer, channel, message, 0, total)
        for number, start in enumerate(range(_CONTENT_BYTES, total, _CONTENT_BYTES), start=1):
            if number % WINDOW == 0:
                while not self._acknowledged[peer, channel]:
                    yield self.poll()
                self._acknowledged[peer, channel] -= 1
            self._send_piece(peer, channel, message, start, total)

    def send_short(self, peer: int, channel: int, message: Message) -> None:
        """Send a message that fits into one piece to a neighbour."""
        self._send_piece(peer, channel, message, 0, len(message.data))

    def _send_piece(self, peer: int, channel: int, message: Message, start: int, total: int) -> None:
        head = _HEAD.pack(message.kind, channel, message.number, total)
        piece = head + message.data[start : start + _CONTENT_BYTES]
        self._engaged.add(peer)
        self._sending.append((self._communicator.Isend([piece, self._mpi.BYTE], dest=peer, tag=TAG), piece))

    def close_channel(self, channel: int) -> None:
        """Discard messages for a channel from now on."""
        self._closed_channels.add(channel)
        for peer in self.neighbours:
            for kept in (self._arrived, self._pieces, self._acknowledged):
                kept.pop((peer, channel), None)

    def disconnect(self) -> None:
        """Disconnect before MPI ends: notify the neighbours and wait briefly for their notice. Unusable afterwards."""
        notified: set[int] = set()
        end_s = time.monotonic() + DISCONNECT_S
        while True:
            for peer in self._engaged - notified:
                self.send_short(peer, 0, Message(_DISCONNECTED, 0, b""))
                notified.add(peer)
            self.poll()
            if notified == self._engaged and (notified <= self._disconnected or time.monotonic() >= end_s):
                break
            time.sleep(_DISCONNECT_PAUSE_S)
        for peer in self._posted.keys() - (self._engaged - self._disconnected):
            for request, _ in self._posted.pop(peer):
                request.Cancel()
                request.Free()


def parent_of(rank: int) -> int:
    """Return the rank with the lowest bit cleared; rank 0 is its own parent."""
    return rank & (rank - 1)


def _children(rank: int, size: int) -> list[int]:
    found, step = [], 1
    while rank + step < size and not rank & step:
        found.append(rank + step)
        step *= 2
    return found
