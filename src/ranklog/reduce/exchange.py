"""Exchange values after the header of a round: the fused path, the gathered path, and ready-made records.

In: rows of this rank, and an agreed header. Out: on rank 0, reduced values and received records in a `RoundOutput`. An
`Exchange` belongs to one generation of ranks. Ranks outside of it are not waited for, and coverage counts them as
missing. Only agreed numbers decide which collectives run, so all members run the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from ranklog.model.record import Coverage, Event
from ranklog.reduce.agree import ABSENT, Memory, agree
from ranklog.reduce.buffer import Buffer, Row, stack
from ranklog.reduce.fused import Deadline, agree_on, reduce_fused
from ranklog.reduce.gathered import decode_report, encode_report, split, taken_from, within
from ranklog.reduce.generation import Ledger, Terms, decode_memory, settle
from ranklog.reduce.header import Agreed
from ranklog.reduce.merger import Merger
from ranklog.reduce.output import Outgoing, RoundOutput
from ranklog.reduce.records import reduced_of
from ranklog.reduce.transfer import Receiver

FUSED_ROWS = 4096
"""Rows that one fused round reduces at most."""
FUSED_NAMES = 65536
"""Names that one fused round reduces at most."""
STALLED_ROUNDS = 5
"""Rounds that may pass while some rank has no closed row, before the ranks gather."""
STALLED_AGE_S = 1.0
"""Age of the oldest closed row above which the ranks gather, even before `STALLED_ROUNDS`."""
CHUNK_BYTES = 1024 * 1024
"""Bytes of ready-made records that one rank sends per round at most."""
CHUNK_BYTES_ALL_RANKS = 64 * 1024 * 1024
"""The same for all ranks together."""


class Desk(msgspec.Struct, frozen=True):
    """Parts of one rank that outlive a generation.

    Attributes:
        rank: This rank.
        size: World size.
        buffer: Its rows.
        outgoing: Its records for rank 0.
        output: Takes records on rank 0.
        merger: On rank 0, merges values and knows those that were written without all ranks.
        receivers: On rank 0, one per rank.
        ledger: What the next generation needs to know of the last round.
    """

    rank: int
    size: int
    buffer: Buffer
    outgoing: Outgoing
    output: RoundOutput
    merger: Merger
    receivers: Sequence[Receiver]
    ledger: Ledger

    def resume(self, serials: Mapping[int, int]) -> None:
        """On rank 0: expect from each rank a record with at least this number next."""
        for rank, serial in serials.items():
            self.receivers[rank].resume(serial)

    def settle(self, terms: Terms) -> Memory:
        """On another rank: drop what rank 0 has of the last round, put back the rest; return the new memory."""
        memory = decode_memory(terms.memory, self.size)
        consumed = terms.consumed.get(self.rank)
        last = self.ledger.last_round(self.buffer)
        self.buffer.restore(settle(last, consumed), len(last.in_flight))
        self.outgoing.queue.resume(consumed.received if consumed else 0)
        self.ledger.settled()
        return memory

    def missed_rounds(self, terms: Terms) -> bool:
        """Whether rank 0 ran rounds without this rank."""
        consumed = terms.consumed.get(self.rank)
        return (consumed.number if consumed else 0) < terms.number - 1

    def forgotten(self, memory: Memory) -> list[Row]:
        """Take rows out of the buffer that may correct values of which rank 0 no longer has the states."""
        if not memory.forgot:
            return []
        rows = self.buffer.closed(self.buffer.closed_count)
        unknown = {
            index: [name for name in row.names if not memory.knows((name, row.op, row.to, row.step))]
            for index, row in enumerate(rows)
        }
        if not any(unknown.values()):
            return []
        left, taken = split(rows, unknown)
        self.buffer.replace(left, len(rows))
        return taken


def open_desk(rank: int, size: int, buffer: Buffer) -> Desk:
    """Return the parts of a rank that has not exchanged anything yet."""
    output = RoundOutput(rank)
    receivers = [Receiver() for _ in range(size if rank == 0 else 0)]
    return Desk(rank, size, buffer, Outgoing(rank, buffer, output), output, Merger(size), receivers, Ledger())


class Exchange:
    """The rounds of one generation after their header.

    Args:
        desk: Parts of this rank.
        members: Ranks of the generation, ascending.
        memory: Agreements of earlier generations, equal on all members.
        patience_s: Age of a row above which it stops waiting for a rank.

    Attributes:
        reduced_once: Whether any value was reduced.
        connected_s: Monotonic time from which ages of rows count.
    """

    def __init__(self, desk: Desk, members: Sequence[int], memory: Memory, patience_s: float = 0.0) -> None:
        self._desk = desk
        self._stalled = 0
        self._widen = 1
        self.members = members
        self.memory = memory
        self.reduced_once = False
        self.patience_s = patience_s
        self.connected_s = time.monotonic()

    def run(self, agreed: Agreed, calls: Deadline, *, closing: bool) -> None:
        """Reduce what the header says is ready.

        Args:
            agreed: Header of the round.
            calls: Collectives of the generation.
            closing: Whether this rank was closing when it counted its rows for the header.
        """
        ledger = self._desk.ledger
        if agreed.rows:
            self._stalled = 0
            rows = self._desk.buffer.closed(min(agreed.rows, FUSED_ROWS))
            ledger.in_flight = len(rows)
            if agree_on(msgspec.msgpack.encode([(r.names, r.step, r.op, r.to) for r in rows]), calls):
                self._fused(within(rows, FUSED_NAMES), calls)
            else:
                self._gather(calls, closing=closing)
        elif agreed.most_rows:
            self._stalled += 1
            if agreed.any_closing or self._stalled >= STALLED_ROUNDS or agreed.age_s >= STALLED_AGE_S:
                self._stalled = 0
                self._gather(calls, closing=closing)

    def _fused(self, rows: list[Row], calls: Deadline) -> None:
        desk = self._desk
        lengths = [len(row.names) for row in rows]
        states = reduce_fused(stack(rows), [row.op for row in rows], lengths, calls, desk.rank)
        partial = len(self.members) < desk.size
        keys = [(name, row.op, row.to, row.step) for row in rows for name in row.names] if partial else ()
        self.memory = self.memory.after_fused(keys, self.members)
        self.reduced_once = True
        desk.buffer.drop(len(rows))
        desk.ledger.finish_fused(rows)
        if desk.rank == 0:
            coverage = Coverage(len(self.members), desk.size, len(self.members))
            desk.output.write([reduced_of(row, coverage) for row in rows], states)
            if partial:
                desk.merger.remember(rows, states, self.members)

    def _gather(self, calls: Deadline, *, closing: bool) -> None:
        desk = self._desk
        rows, own = encode_report(
            desk.buffer,
            len(self.members),
            closing=closing,
            patience_s=self.patience_s,
            since_s=self.connected_s,
            widen=self._widen,
        )
        desk.ledger.in_flight = len(rows)
        reports = [ABSENT] * desk.size
        for rank, data in zip(self.members, calls.all_gather(own), strict=True):
            reports[rank] = decode_report(data)
        was_idle = self.memory.idle
        ready, self.memory = agree(reports, self.memory)
        self.reduced_once = self.reduced_once or bool(ready)
        # A closing rank has answered once it has reported all its rows; if a part settles nothing, ask for more.
        all_complete = all(report.complete for report in reports if report.closing)
        self._widen = 1 if ready or all_complete else self._widen * 2
        if desk.rank == 0:
            groups, states = desk.merger.merge(ready, reports)
            desk.output.write(groups, states)
            self._report_silent(np.flatnonzero(self.memory.idle & ~was_idle).tolist())
        left, reduced = split(rows, taken_from(desk.rank, ready))
        desk.buffer.replace(left, len(rows))
        desk.ledger.finish_gathered(ready, reduced)

    def _report_silent(self, ranks: Sequence[int]) -> None:
        for rank in ranks:
            text = (
                f"rank {rank} logged no values to reduce for {self.patience_s:g} s while other ranks did;"
                " coverage shows which values are incomplete"
            )
            self._desk.output.records.append(Event("warning", "rank_silent", text, time.time_ns(), rank=rank))

    def transfer(self, calls: Deadline) -> None:
        """Send the next bytes of ready-made records to rank 0."""
        limit = min(CHUNK_BYTES, max(1, CHUNK_BYTES_ALL_RANKS // len(self.members)))
        queue = self._desk.outgoing.queue
        chunks = calls.all_gather(queue.chunk(limit) if self._desk.rank else b"")
        if self._desk.rank:
            queue.sent()
            return
        for rank, chunk in zip(self.members, chunks, strict=True):
            self._desk.output.read(self._desk.receivers[rank].feed(chunk))
