"""Collect the records of a round on each rank, and counts the values that cannot become records.

`RoundOutput` takes reduced values and encoded records. A value that cannot become a record takes no other with it, and
rank 0 reports the first cause. `Outgoing` turns this rank's own values and records into messages for rank 0. For the
thread that runs the rounds, except `Outgoing.post`, which any thread may call.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ranklog.model.losses import VALUES_LOST
from ranklog.model.record import Event, Metrics, Record
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.ops import States
from ranklog.reduce.records import RecordMaker, Reduced
from ranklog.reduce.transfer import SendQueue, decode_record


class RoundOutput:
    """Records that rank 0 is to write.

    Args:
        rank: This rank.

    Attributes:
        records: Records not yet taken.
        lost: Values and records that could not be made or read.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._maker = RecordMaker()
        self._loss_reported = False
        self.records: list[Record] = []
        self.lost = 0

    def write(self, groups: Sequence[Reduced], states: States) -> None:
        """Make records of reduced values; if that fails, one group at a time, so only the faulty one is lost."""
        try:
            self.records += self._maker.make(groups, states)
        except Exception as error:  # the reducer thread must survive any value
            if len(groups) == 1:
                self.lose(len(groups[0].names), error)
                return
            start = 0
            for group in groups:
                end = start + len(group.names)
                self.write([group], states.part(start, end))
                start = end

    def read(self, encoded: Sequence[bytes]) -> None:
        """Add encoded records; one that cannot be decoded is lost."""
        for data in encoded:
            try:
                self.records.append(decode_record(data))
            except Exception as error:  # as above
                self.lose(1, error)

    def lose(self, count: int, error: Exception) -> None:
        """Count lost values or records; rank 0 reports the first cause."""
        self.lost += count
        if self._rank == 0 and not self._loss_reported:
            self._loss_reported = True
            text = f"some values or records cannot be written and are left out ({count} so far): {error!r}"
            self.records.append(Event("warning", VALUES_LOST, text, time.time_ns()))

    def take(self) -> list[Record]:
        """Remove and return all records."""
        taken, self.records = self.records, []
        return taken


class Outgoing:
    """Ready-made records of this rank: sent to rank 0, or written directly on rank 0.

    Args:
        rank: This rank.
        buffer: Rows of this rank, with its values of the op ``per_rank``.
        output: Takes the records on rank 0.

    Attributes:
        queue: Records to send.
    """

    def __init__(self, rank: int, buffer: Buffer, output: RoundOutput) -> None:
        self._rank = rank
        self._buffer = buffer
        self._output = output
        self.queue = SendQueue()

    def post(self, records: Sequence[Record]) -> None:
        """Queue records; one that cannot be encoded takes no other with it."""
        for record in records:
            try:
                self.queue.post([record])
            except Exception as error:  # as in `RoundOutput.write`
                self._output.lose(1, error)

    def collect(self) -> None:
        """Turn values of the op ``per_rank`` into records; on rank 0, write everything that was posted."""
        suffix = f"/rank_{self._rank:03d}"
        for own in self._buffer.take_per_rank():
            values = {name + suffix: value for name, value in own.values.items()}
            self.post([Metrics(own.step, own.time_ns, own.to, values)])
        if self._rank == 0:
            self._output.read(self.queue.take())
