"""Values of a rank that is cut off: it keeps them in its spill file and in memory, and sends them when it returns.

The file alone would show them only when the run closes. Memory is bounded: beyond `HELD_NAMES` or `HELD_BYTES`, what is
held so far stays in the file only. Before the rank sends anything, its file notes which items may be sent. A merge then
takes those only if they have not arrived, even if the rank dies in between. For the thread that runs the rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ranklog.reduce.buffer import Buffer, Row
from ranklog.reduce.generation import LastRound, Ledger
from ranklog.reduce.spill.buffer import SpillBuffer
from ranklog.reduce.transfer import OutgoingRecord, SendQueue

HELD_NAMES = 65536
"""Values to reduce that a rank holds at most."""
HELD_BYTES = 16 * 1024 * 1024
"""Bytes of ready-made records that a rank holds at most."""


class HeldValues:
    """What one rank has kept since it was cut off.

    Args:
        spill: Its spill file.
        buffer: Its rows, where held rows return to.
        queue: Its records for rank 0, where held records return to.
    """

    def __init__(self, spill: SpillBuffer, buffer: Buffer, queue: SendQueue) -> None:
        self._spill = spill
        self._buffer = buffer
        self._queue = queue
        self._holding = self._noted = False
        self._first_item = 0
        self._doubt: LastRound | None = None
        self._rows: list[Row] = []
        self._records: list[OutgoingRecord] = []

    def begin(self, doubt: LastRound, first_item: int) -> None:
        """Hold values from now on, because this rank is cut off.

        Args:
            doubt: The last round.
            first_item: How many items the file had before this rank kept the rows of that round.
        """
        self._forget()
        self._holding = True
        self._first_item = first_item
        self._doubt = doubt

    def add(self, rows: Sequence[Row], records: Sequence[OutgoingRecord]) -> None:
        """Hold what the file has taken."""
        if not self._holding:
            return
        self._rows += rows
        self._records += records
        names = sum(len(row.names) for row in self._rows)
        if names > HELD_NAMES or sum(len(each.record) for each in self._records) > HELD_BYTES:
            self._forget()

    @property
    def next_serial(self) -> int:
        """Number of the first record that this rank will send if it joins now."""
        return self._records[0].serial if self._noted and self._records else self._queue.next_serial

    @contextmanager
    def returning(self) -> Iterator[None]:
        """While this rank tries to join: have the file note what may be sent, and that it was not if that fails."""
        items = self._spill.items - self._first_item
        if not self._holding or not items:
            yield
            return
        self._noted = self._spill.returned(items)
        try:
            yield
        except BaseException:
            self._spill.returned(0)
            raise
        finally:
            self._noted = False

    def put_back(self, ledger: Ledger) -> None:
        """This rank has joined: return everything to the buffer and to the queue, as if the last round had just failed.

        Without a note in the file, values stay there until the merge.
        """
        if self._noted:
            doubt = self._doubt
            in_doubt = doubt.in_flight if doubt else ()
            self._buffer.restore([*in_doubt, *self._rows], 0)
            ledger.in_flight, ledger.reduced = len(in_doubt), doubt.reduced if doubt else ()
            self._queue.put_back(self._records)
        self._forget()
        self._holding = False

    def _forget(self) -> None:
        self._first_item = self._spill.items
        self._doubt = None
        self._rows = []
        self._records = []
