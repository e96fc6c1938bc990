"""Run rounds: every rank's reducer thread takes part, and rank 0 receives the records.

In: a `Buffer` and a `World`. Out: records, on rank 0. In each round the ranks first agree on a small header. If all
ranks hold the same rows, they take the fused path; otherwise the gathered path. Then ready-made records travel to rank
0. Only agreed numbers decide which of these run, so all ranks run the same. The first error ends the rounds for good,
and each rank continues alone (see `ranklog.reduce.breakdown`).

`step` never raises. It waits for the other ranks for at most about its time limit. Once all are here, the calls of the
round may take as long again. Only the reducer thread calls `step`; any thread may call the other methods.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from ranklog.abc import SpillStore, World
from ranklog.model.errors import WorldError
from ranklog.model.record import Coverage, Event, Record
from ranklog.reduce.agree import Memory, agree
from ranklog.reduce.breakdown import Breakdown
from ranklog.reduce.buffer import Buffer, Row, stack
from ranklog.reduce.fused import Deadline, agree_on, reduce_fused
from ranklog.reduce.gathered import Merger, decode_report, encode_report, split, within
from ranklog.reduce.handshake import shake_hands
from ranklog.reduce.header import NO_ROUND, Agreed, Header, agree_header
from ranklog.reduce.output import Outgoing, RoundOutput
from ranklog.reduce.records import reduced_of
from ranklog.reduce.spill.buffer import SpillBuffer
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


class Rounds:
    """The rounds of one process.

    Args:
        world: Communicator that no other thread uses.
        buffer: Rows of this rank.
        run_id: The run's id. It may be None on ranks other than 0; rank 0 sends it to them.
        store: Writes values that can no longer be sent; without it they are lost.

    Attributes:
        run_id: The run's id, known on every rank after the first round.
        cost_s: Duration of the last round, counted from the moment when all ranks had joined.
        number: Rounds that all ranks have begun, equal on all ranks.
        wanted: Last round for which this rank wants to know whether rank 0's disk has it; set before `step`.
        agreed: Header of the last round.
        finished: Whether all ranks are closing and nothing is pending anywhere; set in the same round on all.
        failed: Why the rounds ended early; None while they work.
    """

    def __init__(
        self, world: World, buffer: Buffer, *, run_id: str | None = None, store: SpillStore | None = None
    ) -> None:
        self._world = world
        self._buffer = buffer
        self._rank = world.place.rank
        self._size = world.place.world_size
        self._output = RoundOutput(self._rank)
        self._outgoing = Outgoing(self._rank, buffer, self._output)
        self._receivers = [Receiver() for _ in range(self._size if self._rank == 0 else 0)]
        self._merger = Merger(self._size)
        self._memory = Memory.fresh(self._size)
        self._spill = SpillBuffer(self._rank, self._size, store)
        self._alone = self._breakdown(self._outgoing, self._output)
        self._rendezvous = secrets.token_hex(4) if self._rank == 0 else ""
        self._connected_s = 0.0
        self._in_flight = 0  # rows at the head of the buffer that the current round may reduce
        self._unconfirmed: list[Row] = []  # reduced in the last round, which may have failed on another rank
        self._carrying = False
        self._closing = False
        self._widen = 1
        self._reduced_once = False
        self._stalled = 0
        self._patience_s = 0.0
        self._confirmed = self._refused = 0
        self.number = 0
        self.wanted = 0
        self.agreed: Agreed = NO_ROUND
        self.run_id = run_id
        self.cost_s = 0.0
        self.finished = False
        self.failed: str | None = None

    def _breakdown(self, outgoing: Outgoing, output: RoundOutput) -> Breakdown:
        return Breakdown(self._world.place, self._buffer, outgoing, output, self._spill, self._merger, self._receivers)

    @property
    def lost(self) -> int:
        """Values and records of this rank that will never be written."""
        return self._output.lost + self._spill.lost

    @property
    def rendezvous(self) -> str | None:
        """Name of the spill files that were begun; None if there are none."""
        return self._spill.rendezvous

    @property
    def records_pending(self) -> bool:
        """Whether posted records wait to be sent, or the round that carries them is not over."""
        return self._carrying or self._outgoing.queue.bytes_waiting > 0

    def post(self, records: Sequence[Record]) -> None:
        """Queue ready-made records for rank 0; one that cannot be encoded takes no other with it."""
        self._outgoing.post(records)

    def request_close(self) -> None:
        """Close all rows. Nothing may be added or posted on this rank afterwards."""
        self._buffer.close_all()
        self._closing = True

    def confirm(self, number: int, *, kept: bool) -> None:
        """On rank 0, note that the disk has (or refused) the records up to a round; the next round tells all ranks."""
        if kept:
            self._confirmed = max(self._confirmed, number)
        else:
            self._refused = max(self._refused, number)

    def step(self, timeout_s: float) -> list[Record]:
        """Run one round; return the records that rank 0 is to write, nothing on other ranks.

        Args:
            timeout_s: Time limit of the round, and the age at which a row no longer waits for a rank.
        """
        # Ranks start at different times, so the longest limit so far counts until something was reduced.
        self._patience_s = timeout_s if self._reduced_once else max(self._patience_s, timeout_s)
        try:
            if self._size == 1 or self.failed or self.finished:
                self._step_alone()
            else:
                try:
                    self._round(timeout_s)
                except Exception as error:  # the reducer thread must survive any error
                    self._fail(error)
        except Exception as error:
            self._output.lose(0, error)
        taken = self._output.take()
        self._carrying = False
        return taken

    def _step_alone(self) -> None:
        closing = self._closing  # read first, so that everything logged before it is included
        self._carrying = True
        self._alone.step()
        if closing and self._size == 1:
            self.finished = True

    def _fail(self, error: Exception) -> None:
        self.failed = (str(error) if isinstance(error, WorldError) else "") or repr(error)
        self._carrying = True
        self._alone.begin(
            self.failed,
            rendezvous=self._rendezvous if self._connected_s else "",
            unconfirmed=self._unconfirmed,
            in_flight=self._in_flight,
        )

    def abandon(self, reason: str) -> list[Record]:
        """Stop waiting for the other ranks for good; return the records that rank 0 is to write.

        Call this from another thread than `step`'s, which may hang in a round. Ignore whatever that `step` still
        returns.
        """
        self.request_close()
        output = RoundOutput(self._rank)
        alone = self._breakdown(Outgoing(self._rank, self._buffer, output), output)
        if self._size == 1:
            alone.step()
        else:
            alone.begin(reason, rendezvous=self._rendezvous if self._connected_s else "")
        self.end()
        # The records that the hanging round had made before: their rows have left the buffer.
        return [*self._output.records, *output.take()]

    def end(self) -> None:
        """Close the spill file, after a failure. Nothing may be added afterwards."""
        self._spill.end()

    def _round(self, timeout_s: float) -> None:
        if not self._connected_s:
            self._connect(Deadline(self._world, timeout_s))
        closing = self._closing  # read first, so that everything logged before it is counted below
        self._carrying = True
        self._outgoing.collect()
        self._carrying = bool(self._output.records)
        own = Header(
            rows=self._buffer.closed_count,
            closing=closing,
            bytes_waiting=self._outgoing.queue.bytes_waiting if self._rank else 0,
            age_s=self._buffer.closed_age_s(),
            wanted=self.wanted,
            confirmed=self._confirmed if self._rank == 0 else np.inf,
            refused=self._refused if self._rank == 0 else np.inf,
        )
        agreed = self.agreed = agree_header(own, Deadline(self._world, timeout_s))
        self.number += 1
        # All ranks have begun this round, so none failed in the previous one.
        self._unconfirmed = []
        self._outgoing.queue.confirm()
        # A new time limit: the wait for the last rank must not leave the rest of the round without time.
        calls = Deadline(self._world, timeout_s)
        together_s = time.monotonic()
        if agreed.all_closing and not agreed.most_rows and not agreed.bytes_waiting:
            self.finished = True
            return
        if agreed.rows:
            self._stalled = 0
            rows = self._buffer.closed(min(agreed.rows, FUSED_ROWS))
            self._in_flight = len(rows)
            if agree_on(msgspec.msgpack.encode([(r.names, r.step, r.op, r.to) for r in rows]), calls):
                self._fused(within(rows, FUSED_NAMES), calls)
            else:
                self._gather(calls)
        elif agreed.most_rows:
            self._stalled += 1
            if agreed.any_closing or self._stalled >= STALLED_ROUNDS or agreed.age_s >= STALLED_AGE_S:
                self._stalled = 0
                self._gather(calls)
        if agreed.bytes_waiting:
            self._transfer(calls)
        self.cost_s = time.monotonic() - together_s

    def _connect(self, calls: Deadline) -> None:
        first = shake_hands(calls, rank=self._rank, run_id=self.run_id, rendezvous=self._rendezvous)
        self.run_id = first.run_id or self.run_id
        self._rendezvous = first.rendezvous
        self._connected_s = time.monotonic()

    def _fused(self, rows: list[Row], calls: Deadline) -> None:
        lengths = [len(row.names) for row in rows]
        states = reduce_fused(stack(rows), [row.op for row in rows], lengths, calls, self._rank)
        self._memory = self._memory.after_fused()
        self._reduced_once = True
        self._buffer.drop(len(rows))
        self._in_flight, self._unconfirmed = 0, rows
        if self._rank == 0:
            coverage = Coverage(self._size, self._size, self._size)
            self._output.write([reduced_of(row, coverage) for row in rows], states)

    def _gather(self, calls: Deadline) -> None:
        rows, own = encode_report(
            self._buffer,
            self._size,
            closing=self._closing,
            patience_s=self._patience_s,
            since_s=self._connected_s,
            widen=self._widen,
        )
        self._in_flight = len(rows)
        reports = [decode_report(data) for data in calls.all_gather(own)]
        was_idle = self._memory.idle
        ready, self._memory = agree(reports, self._memory)
        self._reduced_once = self._reduced_once or bool(ready)
        # A closing rank has answered once it has reported all its rows; if a part settles nothing, ask for more.
        all_complete = all(report.complete for report in reports if report.closing)
        self._widen = 1 if ready or all_complete else self._widen * 2
        if self._rank == 0:
            groups, states = self._merger.merge(ready, reports)
            self._output.write(groups, states)
            for rank in np.flatnonzero(self._memory.idle & ~was_idle).tolist():
                text = (
                    f"rank {rank} logged no values to reduce for {self._patience_s:g} s while other ranks did;"
                    " coverage shows which values are incomplete"
                )
                self._output.records.append(Event("warning", "rank_silent", text, time.time_ns(), rank=rank))
        left, reduced = split(rows, ready, self._rank)
        self._buffer.replace(left, len(rows))
        self._in_flight, self._unconfirmed = 0, reduced

    def _transfer(self, calls: Deadline) -> None:
        limit = min(CHUNK_BYTES, max(1, CHUNK_BYTES_ALL_RANKS // self._size))
        self._carrying = True
        queue = self._outgoing.queue
        chunks = calls.all_gather(queue.chunk(limit) if self._rank else b"")
        if self._rank:
            queue.sent()
        for receiver, chunk in zip(self._receivers, chunks, strict=False):  # other ranks than 0 have no receivers
            self._output.read(receiver.feed(chunk))
