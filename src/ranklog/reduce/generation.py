"""Agree, when ranks form a new generation, on the values that rank 0 has. Pure.

When a round fails, a rank cannot know whether rank 0 reduced it. Rank 0 therefore notes for each rank how far it came
(`Consumed`), and sends that when the rank joins a later generation (`Terms`). The rank then drops the rows that rank 0
has, and puts back those that it has not (`settle`). So no value of a rank that returns is counted twice or lost.

Only the last round is ever in doubt: the header of a round completes only if all ranks finished the round before.
`Ledger` collects on each rank what the agreement needs.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from ranklog.model.errors import WorldError
from ranklog.model.record import Event
from ranklog.reduce.agree import Key, Memory, Ready, Series
from ranklog.reduce.buffer import Buffer, Row
from ranklog.reduce.gathered import split, taken_from

GENERATION = "generation"
"""Code of the event with which a generation of ranks begins."""
_SHARED_LIMIT_BYTES = 1 << 30


class Consumed(msgspec.Struct, frozen=True, array_like=True):
    """How far rank 0 came with one rank.

    Attributes:
        generation: Last generation in which it began a round with the rank.
        number: Number of that generation's last round.
        fused: How many rows at the head of the rank's buffer it reduced in that round, on the fused path.
        taken: Names that it reduced in that round on the gathered path, by row of the rank's report.
        received: Number of the next ready-made record from the rank.
    """

    generation: int
    number: int
    fused: int
    taken: dict[int, list[str]]
    received: int


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """On what rank 0 begins a generation; equal on all members.

    Attributes:
        number: Number of the round before the first one.
        consumed: How far rank 0 came with each member in earlier generations.
        memory: Agreements about keys, see `encode_memory`.
    """

    number: int
    consumed: dict[int, Consumed]
    memory: bytes


class LastRound(msgspec.Struct, frozen=True):
    """The last round of a rank, as it knows it.

    Attributes:
        generation: Its generation.
        number: Its number.
        in_flight: Rows at the head of the buffer that it may have reduced.
        reduced: Rows that left the buffer because it reduced them.
    """

    generation: int
    number: int
    in_flight: Sequence[Row]
    reduced: Sequence[Row]


def settle(own: LastRound, consumed: Consumed | None) -> list[Row]:
    """Return the rows of a rank's last round that rank 0 does not have."""
    rows = [*own.reduced, *own.in_flight]
    if consumed is None or (consumed.generation, consumed.number) < (own.generation, own.number):
        return rows  # rank 0 did not begin this round
    if (consumed.generation, consumed.number) > (own.generation, own.number):
        return list(own.in_flight)  # all ranks finished this round
    if not (consumed.fused or consumed.taken):
        return rows
    if own.reduced:
        return list(own.in_flight)
    if consumed.fused:
        return list(own.in_flight[consumed.fused :])
    return split(own.in_flight, consumed.taken)[0]


class Ledger:
    """What a rank remembers of its last round, and on rank 0 of the last round with every other rank.

    Attributes:
        in_flight: How many rows at the head of the buffer the current round may reduce.
        reduced: Rows that the last round reduced, which may have failed on rank 0.
    """

    def __init__(self) -> None:
        self._generation = self._number = 0
        self._began = False
        self._fused = 0
        self._ready: Sequence[Ready] = ()
        self._consumed: dict[int, Consumed] = {}
        self.in_flight = 0
        self.reduced: Sequence[Row] = ()

    def begin_round(self, generation: int, number: int) -> None:
        """All ranks have begun this round, so none failed in the previous one."""
        self._generation, self._number = generation, number
        self._began = True
        self._fused, self._ready = 0, ()
        self.in_flight, self.reduced = 0, ()

    def finish_fused(self, rows: Sequence[Row]) -> None:
        """These rows were reduced, on the fused path."""
        self._fused = len(rows)
        self.in_flight, self.reduced = 0, rows

    def finish_gathered(self, ready: Sequence[Ready], rows: Sequence[Row]) -> None:
        """These rows of this rank were reduced, on the gathered path."""
        self._ready = ready
        self.in_flight, self.reduced = 0, rows

    def last_round(self, buffer: Buffer) -> LastRound:
        """Return the last round of this rank."""
        return LastRound(self._generation, self._number, buffer.closed(self.in_flight), self.reduced)

    def leave(self, members: Iterable[int], received: Sequence[int]) -> None:
        """On rank 0: a generation ends. If it began no round, what is known of its members stays true."""
        if not self._began:
            return
        self._began = False
        for rank in members:
            if rank:
                taken = taken_from(rank, self._ready)
                self._consumed[rank] = Consumed(self._generation, self._number, self._fused, taken, received[rank])

    def terms(self, members: Iterable[int], number: int, memory: Memory) -> Terms:
        """On rank 0: on what a generation with these members begins."""
        consumed = {rank: self._consumed[rank] for rank in members if rank in self._consumed}
        return Terms(number, consumed, encode_memory(memory))

    def settled(self) -> None:
        """Nothing of the last round is in doubt any more."""
        self.in_flight, self.reduced = 0, ()


def generation_text(generation: int, missing: Sequence[int], size: int, reason: str) -> str:
    """Return one line for the journal about a generation that begins.

    Example:
        >>> generation_text(2, [3], 4, "rank 3 did not answer within 30 s")
        'generation 2: 3 of 4 ranks continue, without rank 3, after: rank 3 did not answer within 30 s'
        >>> generation_text(3, [], 4, "a rank waits to join")
        'generation 3: all 4 ranks take part, after: a rank waits to join'
    """
    if len(missing) == size - 1:
        return f"generation {generation}: rank 0 of {size} ranks continues alone, after: {reason}"
    if not missing:
        return f"generation {generation}: all {size} ranks take part, after: {reason}"
    ranks = ", ".join(map(str, missing[:8])) + (" and others" if missing[8:] else "")
    named = f"rank{'s' if missing[1:] else ''} {ranks}"
    left = size - len(missing)
    return f"generation {generation}: {left} of {size} ranks continue, without {named}, after: {reason}"


def generation_event(generation: int, missing: Sequence[int], size: int, reason: str) -> Event:
    """Return the record of a generation that begins."""
    text = generation_text(generation, missing, size, reason)
    return Event("warning" if missing else "info", GENERATION, text, time.time_ns())


class _Partial(msgspec.Struct, array_like=True):
    key: Key
    ranks: int


class _Memory(msgspec.Struct, array_like=True):
    shared: bytes
    ranks: list[list[int]]
    partial: list[_Partial]
    forgot: list[tuple[Series, int]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Memory)


def encode_memory(memory: Memory) -> bytes:
    """Encode what a new generation must know: which ranks share keys, and which keys were reduced from some ranks."""
    numbers: dict[frozenset[int], int] = {}
    partial = [_Partial(key, numbers.setdefault(ranks, len(numbers))) for key, ranks in memory.partial.items()]
    shared = zlib.compress(np.packbits(memory.shared).tobytes(), 1)
    return _encoder.encode(_Memory(shared, [sorted(ranks) for ranks in numbers], partial, list(memory.forgot.items())))


def decode_memory(data: bytes, size: int) -> Memory:
    """Decode the memory of a world with ``size`` ranks.

    Raises:
        WorldError: the bytes do not come from `encode_memory`.
    """
    try:
        sent = _decoder.decode(data)
        bits = np.frombuffer(zlib.decompressobj().decompress(sent.shared, _SHARED_LIMIT_BYTES), np.uint8)
        shared = np.unpackbits(bits, count=size * size).reshape(size, size).astype(np.bool_)
        ranks = [frozenset(each) for each in sent.ranks]
        partial = {each.key: ranks[each.ranks] for each in sent.partial}
    except (msgspec.MsgspecError, zlib.error, ValueError, IndexError) as error:
        raise WorldError(f"cannot read what rank 0 sent to begin a generation of ranks: {error}") from error
    fresh = Memory.fresh(size)
    return Memory(shared, fresh.passed, fresh.idle, partial, dict(sent.forgot))
