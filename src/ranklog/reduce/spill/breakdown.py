"""Handle a broken communicator: this rank continues without the others, for good or until it joins them again.

Rank 0 writes its own values, with their coverage marked. With several ranks, every rank also keeps its rows and records
for a later merge (see `ranklog.reduce.spill.merge`). Rows and records that may have arrived in the round that failed
are marked as in doubt. Values that cannot be kept are counted. For one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ranklog.model.losses import UNSENT
from ranklog.model.place import Place
from ranklog.model.record import Coverage, Event
from ranklog.reduce.buffer import Buffer, Row, stack
from ranklog.reduce.generation import LastRound
from ranklog.reduce.merger import Merger
from ranklog.reduce.output import Outgoing, RoundOutput
from ranklog.reduce.records import reduced_of
from ranklog.reduce.spill.buffer import SpillBuffer
from ranklog.reduce.spill.held import HeldValues
from ranklog.reduce.transfer import Receiver


class Breakdown:
    """One rank without the others.

    Args:
        place: This rank.
        buffer: Its rows.
        outgoing: Its records for rank 0.
        output: Takes records on rank 0, or in a world of one.
        spill: Keeps what can no longer be sent.
        merger: On rank 0, knows the values that were written without all ranks.
        receivers: On rank 0, one per rank.

    Attributes:
        held: Values of a rank that is cut off, until it joins the others again.
    """

    def __init__(
        self,
        place: Place,
        buffer: Buffer,
        outgoing: Outgoing,
        output: RoundOutput,
        spill: SpillBuffer,
        merger: Merger,
        receivers: Sequence[Receiver],
    ) -> None:
        self._rank = place.rank
        self._size = place.world_size
        self._buffer = buffer
        self._outgoing = outgoing
        self._output = output
        self._spill = spill
        self._merger = merger
        self._receivers = receivers
        self._generation = 0
        self.held = HeldValues(spill, buffer, outgoing.queue)

    def begin(self, reason: str, *, rendezvous: str, doubt: LastRound) -> None:
        """Start to keep values for a later merge, and report the failure on rank 0.

        Args:
            reason: Why the ranks can no longer communicate.
            rendezvous: Name of the spill files; empty if the ranks never agreed on one, and then nothing can be kept.
            doubt: The last round, which may have reduced some rows.
        """
        before = len(self._output.records)
        try:
            self.keep(reason, rendezvous=rendezvous, doubt=doubt)
            self.step()
        finally:
            if self._rank == 0:
                text = f"ranks can no longer communicate: {reason}; rank 0 continues alone; {self._outcome()}"
                code = "reduction_failed" if self._spill.working else UNSENT
                self._output.records.insert(before, Event("warning", code, text, time.time_ns()))

    def keep(self, reason: str, *, rendezvous: str, doubt: LastRound) -> bool:
        """Begin or continue the spill file with what the last round left in doubt; returns whether that worked."""
        received = [receiver.received for receiver in self._receivers]
        self._generation = doubt.generation
        self._spill.begin(rendezvous, reason, received=received, generation=doubt.generation)
        if not self._spill.working:
            return False
        if self._rank == 0:
            self._spill.partial(self._merger.partial_rows())
        else:
            self._spill.rows([*doubt.reduced, *doubt.in_flight], in_doubt=True)
            self._buffer.drop(len(doubt.in_flight))
        return True

    def cut_off(self, reason: str, *, rendezvous: str, doubt: LastRound) -> bool:
        """On another rank than 0: keep values until it joins the others again; returns whether that works."""
        first_item = self._spill.items
        if not self.keep(reason, rendezvous=rendezvous, doubt=doubt):
            return False
        self.held.begin(doubt, first_item)
        return True

    def set_aside(self, rows: Sequence[Row], *, rendezvous: str) -> None:
        """Keep rows for a later merge, although the ranks communicate: rank 0 cannot merge them now."""
        if rows:
            self._spill.begin(rendezvous, "rank 0 went on for long without this rank", received=())
            self._spill.rows(rows)

    def step(self) -> None:
        """Reduce the closed rows of this rank alone if it may write, and keep them for a later merge."""
        self._outgoing.collect()
        rows = self._buffer.closed(self._buffer.closed_count)
        if rows:
            if self._rank == 0 or self._size == 1:
                self._write(rows)
            if self._size > 1:
                self.held.add(self._spill.rows(rows, written=self._rank == 0), ())
            self._buffer.drop(len(rows))
        if self._rank and self._size > 1:
            records = self._outgoing.queue.take_back()
            if self._spill.records(records, generation=self._generation):
                self.held.add((), records)

    def _write(self, rows: Sequence[Row]) -> None:
        try:
            states = stack(rows)
        except Exception as error:  # one value that is no number; the others are written
            if len(rows) == 1:
                self._output.lose(len(rows[0].names), error)
                return
            for row in rows:
                self._write([row])
            return
        coverage = Coverage(1, self._size, 1)
        self._output.write([reduced_of(row, coverage) for row in rows], states)

    def _outcome(self) -> str:
        """Say what happens to the values that other ranks still hold."""
        if self._spill.working:
            return (
                "every rank keeps its values in the run directory; they are merged when the run closes, or by"
                " `ranklog sync`"
            )
        if self._spill.error is not None:
            return f"rank 0 cannot keep the values that a later merge needs: {self._spill.error}"
        lost = self._output.lost + self._spill.lost
        return "values that other ranks had not sent are lost" + (f", and {lost} values of rank 0" if lost else "")
