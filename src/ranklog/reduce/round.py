"""Rounds: what every rank's reducer thread does to turn all ranks' rows into records on rank 0.

In: a `Buffer` and a `World`. Out: records, on rank 0. A round is one header that all ranks agree on, then the fused
path where all hold the same rows, or the gathered path where they do not, then mail. Which of these are run follows
from agreed numbers only, so that all ranks run the same. Any error ends the rounds for good: rank 0 goes on alone
with its coverage marked, and every rank keeps what it holds for a later merge (see `ranklog.reduce.spill.merge`).
`step` never raises. It waits at most about its time limit for the other ranks, and as long again for what they do once
all are here.

Threads: `step` for the one reducer thread; `post` and `request_close` for any; the rest may be read by any.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from ranklog.abc import World
from ranklog.model.errors import WorldError
from ranklog.model.losses import UNSENT, VALUES_LOST
from ranklog.model.record import Coverage, Event, Metrics, Record
from ranklog.reduce.agree import Memory, agree
from ranklog.reduce.buffer import Buffer, Row, stack
from ranklog.reduce.fused import Deadline, agree_on, reduce_fused
from ranklog.reduce.gathered import Merger, decode_report, encode_report, split, within
from ranklog.reduce.handshake import PROTOCOL, greet
from ranklog.reduce.mail import Frames, Mail, read_record
from ranklog.reduce.ops import States
from ranklog.reduce.records import RecordMaker, Reduced
from ranklog.reduce.spill.buffer import SpillBuffer, SpillStore
from ranklog.world.single import SeveredWorld

FUSED_ROWS = 4096
FUSED_NAMES = 65536
STALLED_ROUNDS = 5
STALLED_AGE_S = 1.0
MAIL_BYTES = 1024 * 1024
MAIL_BYTES_ALL_RANKS = 64 * 1024 * 1024


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
        keep: Writes what can no longer be sent; None loses it.

    Attributes:
        run_id: The run's id, on every rank after the first round.
        cost_s: What the last round took once all ranks had come.
        finished: Whether all ranks are closing and nothing is pending anywhere; set in the same round on all.
        failed: Why the rounds ended early, None while they go on.
    """

    def __init__(
        self, world: World, buffer: Buffer, *, run_id: str | None = None, keep: SpillStore | None = None
    ) -> None:
        self._world = world
        self._buffer = buffer
        self._rank = world.place.rank
        self._size = world.place.world_size
        self._mail = Mail()
        self._maker = RecordMaker()
        self._merger = Merger(self._size)
        self._memory = Memory.fresh(self._size)
        self._frames = [Frames() for _ in range(self._size if self._rank == 0 else 0)]
        self._keeper = SpillBuffer(self._rank, self._size, keep)
        self._meeting = secrets.token_hex(4) if self._rank == 0 else ""
        self._in_flight = 0  # first rows of the buffer that the present round may reduce
        self._unconfirmed: list[Row] = []  # reduced in the last round, which may have failed elsewhere
        self._carrying = False
        self._closing = False
        self._greeted_s = 0.0
        self._widen = 1
        self._told_loss = False
        self._reduced_once = False
        self._stalled = 0
        self._patience_s = 0.0
        self._out: list[Record] = []
        self._lost = 0
        self.run_id = run_id
        self.cost_s = 0.0
        self.finished = False
        self.failed: str | None = None

    @property
    def lost(self) -> int:
        """Values and records of this rank that will never be written."""
        return self._lost + self._keeper.lost

    @property
    def meeting(self) -> str | None:
        """Name under which spill files were begun, None where there are none."""
        return self._keeper.meeting

    @property
    def mail_pending(self) -> bool:
        """Whether posted records wait to be sent, or the round that carries them is not over."""
        return self._carrying or self._mail.bytes_waiting > 0

    def post(self, records: Sequence[Record]) -> None:
        """Queue ready-made records for rank 0; one that cannot be encoded takes no other with it."""
        for record in records:
            try:
                self._mail.post([record])
            except Exception as error:
                self._lose(1, error)

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
        try:
            if self._size == 1 or self.failed or self.finished:
                self._step_alone()
            else:
                try:
                    self._round(timeout_s)
                except Exception as error:  # whatever it is, the reducer thread goes on
                    self._fail(error)
        except Exception as error:
            self._lose(0, error)
        out, self._out = self._out, []
        self._carrying = False
        return out

    def _round(self, timeout_s: float) -> None:
        if not self._greeted_s:
            self._greet(Deadline(self._world, timeout_s))
        closing = self._closing  # read before what is counted: all that came before it is counted then
        self._post_per_rank()
        agreed = self._agree_header(Deadline(self._world, timeout_s), closing=closing)
        # All ranks have begun this round, so none has failed in the one before.
        self._unconfirmed = []
        self._mail.confirm()
        # All ranks are here now: the wait for the last one must not leave the rest of the round without time.
        calls = Deadline(self._world, timeout_s)
        together_s = time.monotonic()
        if agreed.all_closing and not agreed.most_rows and not agreed.mail_bytes:
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
        if agreed.mail_bytes:
            self._deliver_mail(calls)
        self.cost_s = time.monotonic() - together_s

    def _greet(self, calls: Deadline) -> None:
        told = greet(calls, rank=self._rank, run_id=self.run_id, meeting=self._meeting)
        self.run_id = told.run_id or self.run_id
        self._meeting = told.meeting
        self._greeted_s = time.monotonic()

    def _agree_header(self, calls: Deadline, *, closing: bool) -> Agreed:
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
        self._in_flight, self._unconfirmed = 0, rows
        if self._rank == 0:
            coverage = Coverage(self._size, self._size, self._size)
            self._write([_group(row, coverage) for row in rows], states)

    def _gather(self, calls: Deadline) -> None:
        rows, own = encode_report(
            self._buffer,
            self._size,
            closing=self._closing,
            patience_s=self._patience_s,
            since_s=self._greeted_s,
            widen=self._widen,
        )
        self._in_flight = len(rows)
        reports = [decode_report(data) for data in calls.all_gather(own)]
        was_idle = self._memory.idle
        ready, self._memory = agree(reports, self._memory)
        self._reduced_once = self._reduced_once or bool(ready)
        # A closing rank has answered once it has told all: where a part of it settles nothing, more is told.
        told_all = all(report.complete for report in reports if report.closing)
        self._widen = 1 if ready or told_all else self._widen * 2
        if self._rank == 0:
            groups, states = self._merger.merge(ready, reports)
            self._write(groups, states)
            for rank in np.flatnonzero(self._memory.idle & ~was_idle).tolist():
                text = (
                    f"rank {rank} gave no values to reduce for {self._patience_s:g} s while others did;"
                    " what it misses shows as coverage"
                )
                self._out.append(Event("warning", "rank_silent", text, time.time_ns(), rank=rank))
        left, reduced = split(rows, ready, self._rank)
        self._buffer.replace(left, len(rows))
        self._in_flight, self._unconfirmed = 0, reduced

    def _deliver_mail(self, calls: Deadline) -> None:
        limit = min(MAIL_BYTES, max(1, MAIL_BYTES_ALL_RANKS // self._size))
        self._carrying = True
        chunks = calls.all_gather(self._mail.chunk(limit) if self._rank else b"")
        if self._rank:
            self._mail.sent()
        for frames, chunk in zip(self._frames, chunks, strict=False):  # other ranks than 0 keep none
            self._read(frames.feed(chunk))

    def _post_per_rank(self) -> None:
        """Turn values of the op per_rank into records; on rank 0 everything posted is ready at once."""
        self._carrying = True
        suffix = f"/rank_{self._rank:03d}"
        for own in self._buffer.take_per_rank():
            values = {name + suffix: value for name, value in own.values.items()}
            self.post([Metrics(own.step, own.time_ns, own.to, values)])
        if self._rank == 0:
            self._read(self._mail.take())
        self._carrying = bool(self._out)

    def _read(self, encoded: Sequence[bytes]) -> None:
        for data in encoded:
            try:
                self._out.append(read_record(data))
            except Exception as error:  # as above
                self._lose(1, error)

    def _write(self, groups: Sequence[Reduced], states: States) -> None:
        """Make records; where that fails, one by one, so that only the one that cannot be made is lost."""
        try:
            self._out += self._maker.make(groups, states)
        except Exception as error:  # as above
            if len(groups) == 1:
                self._lose(len(groups[0].names), error)
                return
            start = 0
            for group in groups:
                end = start + len(group.names)
                self._write([group], states.part(start, end))
                start = end

    def _step_alone(self) -> None:
        """Reduce this rank's rows by themselves where it may write, and keep them for a later merge."""
        closing = self._closing
        self._post_per_rank()
        rows = self._buffer.closed(self._buffer.closed_count)
        if rows:
            if self._rank == 0 or self._size == 1:
                self._write_alone(rows)
            if self._size > 1:
                self._keeper.rows(rows, written=self._rank == 0)
            self._buffer.drop(len(rows))
        if self._rank and self._size > 1:
            self._keeper.letters(self._mail.take_back())
        if closing and self._size == 1:
            self.finished = True

    def _write_alone(self, rows: Sequence[Row]) -> None:
        try:
            states = stack(rows)
        except Exception as error:  # as in `_write`
            if len(rows) == 1:
                self._lose(len(rows[0].names), error)
                return
            for row in rows:
                self._write_alone([row])
            return
        coverage = Coverage(1, self._size, 1)
        self._write([_group(row, coverage) for row in rows], states)

    def _fail(self, error: Exception) -> None:
        self.failed = (str(error) if isinstance(error, WorldError) else "") or repr(error)
        before = len(self._out)
        try:
            self._keep_what_is_held(self.failed)
            self._step_alone()
        finally:
            if self._rank == 0:
                text = f"ranks can no longer talk to each other: {self.failed}; rank 0 goes on alone; {self._known()}"
                code = "reduction_failed" if self._keeper.working else UNSENT
                self._out.insert(before, Event("warning", code, text, time.time_ns()))

    def _keep_what_is_held(self, reason: str) -> None:
        meeting = self._meeting if self._greeted_s else ""
        self._keeper.begin(meeting, reason, received=[frames.received for frames in self._frames])
        if not self._keeper.working:
            return
        if self._rank == 0:
            self._keeper.partial(self._merger.partial_rows())
            return
        in_flight = self._buffer.closed(self._in_flight)
        self._keeper.rows([*self._unconfirmed, *in_flight], in_doubt=True)
        self._buffer.drop(len(in_flight))

    def abandon(self, reason: str) -> list[Record]:
        """Go on without the other ranks for good; returns what rank 0 is to write.

        For another thread than `step`'s, which may hang in a round: what that still gives is not to be used.
        """
        alone = Rounds(SeveredWorld(self._world.place, reason), self._buffer, run_id=self.run_id)
        alone._keeper, alone._merger, alone._frames = self._keeper, self._merger, self._frames
        alone._meeting, alone._greeted_s = self._meeting, self._greeted_s
        alone.request_close()
        # What the round that hangs had made before: its rows have left the buffer.
        records = [*self._out, *alone.step(0.0)]
        alone.end()
        return records

    def end(self) -> None:
        """Nothing will be added any more, after a failure: closes what is kept."""
        self._keeper.end()

    def _known(self) -> str:
        """What becomes of what other ranks had to give."""
        if self._keeper.working:
            return (
                "every rank keeps what it logs in the run directory, and it is merged when the run closes or by"
                " `ranklog sync`"
            )
        if self._keeper.error is not None:
            return f"rank 0 cannot keep what a later merge needs: {self._keeper.error}"
        return "what other ranks had not sent is lost" + (f", and {self.lost} values of rank 0" if self.lost else "")

    def _lose(self, count: int, error: Exception) -> None:
        """Count what cannot be written; rank 0 tells the first cause."""
        self._lost += count
        if self._rank == 0 and not self._told_loss:
            self._told_loss = True
            text = f"values or records could not be written, {count} at first, and are left out: {error!r}"
            self._out.append(Event("warning", VALUES_LOST, text, time.time_ns()))


def _group(row: Row, coverage: Coverage) -> Reduced:
    return Reduced(row.names, row.step, row.op, row.to, row.time_ns, coverage)
