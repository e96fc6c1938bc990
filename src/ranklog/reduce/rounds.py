"""Rounds: what every rank's reducer thread does to turn all ranks' rows into records on rank 0.

In: a `Buffer` and a `World`. Out: records, on rank 0. A round is one header that all ranks agree on, then the fused
path where all hold the same rows, or the gathered path where they do not, then mail. Which of these are run follows
from agreed numbers only, so that all ranks run the same. Any `WorldError` ends the rounds for good: rank 0 goes on
alone with its coverage marked, other ranks count what they can no longer send. `step` never raises `WorldError` and
blocks at most about its time limit.

Threads: `step` for the one reducer thread; `post` and `request_close` for any; the rest may be read by any.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from ranklog.model.errors import WorldError
from ranklog.model.record import Coverage, Event, Metrics, Record
from ranklog.reduce.agree import Memory, agree
from ranklog.reduce.buffer import Buffer, Row, stack
from ranklog.reduce.fused import Deadline, agree_on, reduce_fused
from ranklog.reduce.gathered import Merger, decode_report, encode_report, remaining, within
from ranklog.reduce.mail import Mail, read_packet
from ranklog.reduce.records import RecordMaker, Reduced
from ranklog.world.base import World

PROTOCOL = 1
FUSED_ROWS = 4096
FUSED_NAMES = 65536
STALLED_ROUNDS = 5
STALLED_AGE_S = 1.0
MAIL_BYTES = 1024 * 1024
_MAIL_BYTES_ALL_RANKS = 64 * 1024 * 1024


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """First thing that ranks tell each other."""

    protocol: int
    run_id: str
    host: str
    pid: int
    rank: int


class Agreed(msgspec.Struct, frozen=True):
    """The header of a round, as all ranks have it.

    Attributes:
        rows: Closed rows of the rank that has the fewest.
        most_rows: Of the rank that has the most.
        all_closing: Whether every rank is closing.
        any_closing: Whether one is.
        mail_bytes: Mail of the rank that has the most.
        age_s: Age of the oldest closed row.
    """

    rows: int
    most_rows: int
    all_closing: bool
    any_closing: bool
    mail_bytes: int
    age_s: float


class Rounds:
    """The rounds of one process.

    Args:
        world: Communicator of ranklog's own, used by no other thread.
        buffer: This rank's rows.
        run_id: The run's id; on other ranks than 0 it may be None, rank 0 tells it.

    Attributes:
        run_id: The run's id, on every rank after the first round.
        finished: Whether all ranks are closing and nothing is pending anywhere; set in the same round on all.
        failed: Why the rounds ended early, None while they go on.
        lost: Values and records that this rank can no longer send to rank 0.
    """

    def __init__(self, world: World, buffer: Buffer, *, run_id: str | None = None) -> None:
        self._world = world
        self._buffer = buffer
        self._rank = world.place.rank
        self._size = world.place.world_size
        self._mail = Mail()
        self._maker = RecordMaker()
        self._merger = Merger(self._size)
        self._memory = Memory.fresh(self._size)
        self._closing = False
        self._greeted_s = 0.0
        self._reduced_once = False
        self._stalled = 0
        self._patience_s = 0.0
        self._out: list[Record] = []
        self.run_id = run_id
        self.finished = False
        self.failed: str | None = None
        self.lost = 0

    @property
    def mail_pending(self) -> bool:
        """Whether posted records wait to be sent."""
        return self._mail.bytes_waiting > 0

    def post(self, records: Sequence[Record]) -> None:
        """Queue ready-made records for rank 0."""
        self._mail.post(records)

    def request_close(self) -> None:
        """Say that nothing more will be added or posted on this rank; closes all rows."""
        self._buffer.close_all()
        self._closing = True

    def step(self, timeout_s: float) -> list[Record]:
        """Do one round; returns what rank 0 is to write, nothing elsewhere.

        Args:
            timeout_s: Time limit of the round, and age at which a row no longer waits for a rank.
        """
        # Until something was reduced the longest limit given so far counts: ranks start at different times.
        self._patience_s = timeout_s if self._reduced_once else max(self._patience_s, timeout_s)
        if self._size == 1 or self.failed or self.finished:
            self._step_alone()
        else:
            try:
                self._round(Deadline(self._world, timeout_s))
            except (WorldError, msgspec.MsgspecError) as error:
                self._fail(str(error))
        out, self._out = self._out, []
        return out

    def _round(self, calls: Deadline) -> None:
        if not self._greeted_s:
            self._greet(calls)
        self._post_per_rank()
        agreed = self._agree_header(calls)
        if agreed.all_closing and not agreed.most_rows and not agreed.mail_bytes:
            self.finished = True
            return
        if agreed.rows:
            self._stalled = 0
            rows = self._buffer.closed(min(agreed.rows, FUSED_ROWS))
            if agree_on(msgspec.msgpack.encode([(r.names, r.step, r.op, r.to) for r in rows]), calls):
                self._fused(within(rows, FUSED_NAMES), calls)
            else:
                self._gather(calls)
        elif agreed.most_rows:
            self._stalled += 1
            if agreed.any_closing or self._stalled >= STALLED_ROUNDS or agreed.age_s >= STALLED_AGE_S:
                self._stalled = 0
                self._gather(calls)
        if agreed.mail_bytes:
            self._deliver_mail(calls)

    def _greet(self, calls: Deadline) -> None:
        own = Hello(PROTOCOL, self.run_id or "", socket.gethostname(), os.getpid(), self._rank)
        decoder = msgspec.msgpack.Decoder(Hello)
        hellos = [decoder.decode(data) for data in calls.all_gather(msgspec.msgpack.encode(own))]
        for hello in hellos:
            if hello.protocol != hellos[0].protocol:
                raise WorldError(
                    f"ranks run different versions of ranklog: protocol {hellos[0].protocol} on rank 0 "
                    f"({hellos[0].host}), {hello.protocol} on rank {hello.rank} ({hello.host}); install the same one"
                )
        self.run_id = hellos[0].run_id or self.run_id
        self._greeted_s = time.monotonic()

    def _agree_header(self, calls: Deadline) -> Agreed:
        closing = self._closing  # read before the counts: what was added before it is in them
        count = self._buffer.closed_count
        own = [
            PROTOCOL,
            -PROTOCOL,
            count,
            -count,
            closing,
            -closing,
            -(self._mail.bytes_waiting if self._rank else 0),
            -self._buffer.closed_age_s(),
        ]
        low = calls.all_reduce(np.array(own, dtype=np.float64), "min")
        if low[0] != -low[1]:
            raise WorldError(
                f"ranks are out of step: protocol numbers from {low[0]:g} to {-low[1]:g} in one round, here {PROTOCOL}"
            )
        return Agreed(int(low[2]), -int(low[3]), low[4] == 1, low[5] == -1, -int(low[6]), -float(low[7]))

    def _fused(self, rows: list[Row], calls: Deadline) -> None:
        lengths = [len(row.names) for row in rows]
        states = reduce_fused(stack(rows), [row.op for row in rows], lengths, calls, self._rank)
        self._memory = self._memory.after_fused()
        self._reduced_once = True
        self._buffer.drop(len(rows))
        if self._rank == 0:
            coverage = Coverage(self._size, self._size, self._size)
            self._out += self._maker.make([_group(row, coverage) for row in rows], states)

    def _gather(self, calls: Deadline) -> None:
        rows, own = encode_report(
            self._buffer, self._size, closing=self._closing, patience_s=self._patience_s, since_s=self._greeted_s
        )
        reports = [decode_report(data) for data in calls.all_gather(own)]
        was_idle = self._memory.idle
        ready, self._memory = agree(reports, self._memory)
        self._reduced_once = self._reduced_once or bool(ready)
        if self._rank == 0:
            groups, states = self._merger.merge(ready, reports)
            self._out += self._maker.make(groups, states)
            for rank in np.flatnonzero(self._memory.idle & ~was_idle).tolist():
                text = (
                    f"rank {rank} gave no values to reduce for {self._patience_s:g} s while others did;"
                    " what it misses shows as coverage"
                )
                self._out.append(Event("warning", "rank_silent", text, time.time_ns(), rank=rank))
        self._buffer.replace(remaining(rows, ready, self._rank), len(rows))

    def _deliver_mail(self, calls: Deadline) -> None:
        limit = min(MAIL_BYTES, max(16 * 1024, _MAIL_BYTES_ALL_RANKS // self._size))
        packets = calls.all_gather(self._mail.packet(limit) if self._rank else b"")
        if self._rank:
            self._mail.sent()
        else:
            for packet in packets:
                self._out += read_packet(packet)

    def _post_per_rank(self) -> None:
        """Turn values of the op per_rank into records; on rank 0 everything posted is ready at once."""
        own = self._buffer.take_per_rank()
        if own:
            suffix = f"/rank_{self._rank:03d}"
            self._mail.post(
                [Metrics(p.step, p.time_ns, p.to, {n + suffix: v for n, v in p.values.items()}) for p in own]
            )
        if self._rank == 0 and self._mail.bytes_waiting:
            self._out += read_packet(self._mail.packet(2**63))
            self._mail.sent()

    def _step_alone(self) -> None:
        """Reduce this rank's rows by themselves where it may write, else count them as lost."""
        closing = self._closing
        self._post_per_rank()
        rows = self._buffer.closed(self._buffer.closed_count)
        if rows:
            if self._rank == 0 or self._size == 1:
                coverage = Coverage(1, self._size, 1)
                self._out += self._maker.make([_group(row, coverage) for row in rows], stack(rows))
            else:
                self.lost += sum(len(row.names) for row in rows)
            self._buffer.drop(len(rows))
        if self._rank and self._size > 1:
            self.lost += self._mail.clear()
        if closing and self._size == 1:
            self.finished = True

    def _fail(self, reason: str) -> None:
        self.failed = reason
        if self._rank == 0:
            text = f"ranks can no longer talk to each other: {reason}; rank 0 goes on alone"
            self._out.append(Event("warning", "reduction_failed", text, time.time_ns()))
        self._step_alone()


def _group(row: Row, coverage: Coverage) -> Reduced:
    return Reduced(row.names, row.step, row.op, row.to, row.time_ns, coverage)
