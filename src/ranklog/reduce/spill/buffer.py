"""Write the values that a rank can no longer send to its spill file: rows, ready-made records and partial states.

In: what the rounds hold when the communicator breaks, and what is logged afterwards. Out: packets for a
`ranklog.abc.SpillStore`. Anything that cannot be kept is counted. For the thread that runs the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ranklog.abc import SpillStore
from ranklog.reduce.buffer import Row
from ranklog.reduce.gathered import report_rows
from ranklog.reduce.spill.format import SpillHead, SpillItem, SpillRecord, SpillReturned, SpillRows, pack
from ranklog.reduce.transfer import OutgoingRecord

_ROWS_AT_ONCE = 4096


class SpillBuffer:
    """Values that one rank keeps.

    Args:
        rank: This rank.
        size: World size.
        store: Writes packets; None if there is nothing to write to.

    Attributes:
        rendezvous: Name under which a file was begun; None if there is none.
        items: Rows and records that were written, as items of the file.
        lost: Values and records that could not be kept and that no other rank has.
        error: First error that prevented keeping a value.
    """

    def __init__(self, rank: int, size: int, store: SpillStore | None) -> None:
        self._rank = rank
        self._size = size
        self._store = store
        self._ended = False
        self.rendezvous: str | None = None
        self.items = 0
        self.lost = 0
        self.error: Exception | None = None

    @property
    def working(self) -> bool:
        """Whether there is a file and it has taken everything so far."""
        return self.rendezvous is not None and self.error is None

    def begin(self, rendezvous: str, reason: str, *, received: Sequence[int], generation: int = 0) -> None:
        """Begin a file, or continue it, because the ranks can no longer communicate.

        Args:
            rendezvous: Name of the files; with an empty name, nothing can be kept.
            reason: Why the ranks can no longer communicate.
            received: On rank 0, number of the next ready-made record from each rank.
            generation: Generation of ranks that ended.
        """
        if rendezvous and self._store is not None:
            self.rendezvous = rendezvous
            self._write([SpillHead(self._rank, self._size, reason, time.time_ns(), tuple(received), generation)])

    def rows(self, rows: Sequence[Row], *, in_doubt: bool = False, written: bool = False) -> list[Row]:
        """Keep rows of this rank; ``written`` rows are in the journal, by themselves. Returns those that are kept."""
        kept: list[Row] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            if self._keep_rows(some, in_doubt=in_doubt, written=written):
                kept += some
                continue
            for row in some:  # one by one, so a row that cannot be kept takes no other with it
                if self._keep_rows([row], in_doubt=in_doubt, written=written):
                    kept.append(row)
                elif not written:
                    self.lost += len(row.names)
        return kept

    def _keep_rows(self, rows: Sequence[Row], *, in_doubt: bool, written: bool) -> bool:
        try:
            reports = report_rows(rows, 0.0)
        except Exception as error:  # a value that is not a number
            self.error = self.error or error
            return False
        return self._write([SpillRows(self._rank, reports, in_doubt, written, alone=written)])

    def partial(self, items: Sequence[SpillRows]) -> None:
        """Keep the states of values that were written without all ranks."""
        self._write(items)

    def records(self, records: Sequence[OutgoingRecord], *, generation: int) -> bool:
        """Keep ready-made records that may not have arrived in a generation; returns whether that worked."""
        items = [SpillRecord(each.serial, each.record, each.sent, generation) for each in records]
        kept = self._write(items)
        if not kept:
            self.lost += sum(not each.sent for each in records)
        return kept

    def returned(self, items: int) -> bool:
        """Note that the last ``items`` rows and records may be sent from now on; returns whether the disk has that."""
        if self._store is None or not self._write([SpillReturned(items)]):
            return False
        if not self._store.sync():
            self._write([SpillReturned(0)])
            return False
        return True

    def end(self) -> None:
        """Close the file: the rank has closed its logger."""
        if self.rendezvous is not None and self._store is not None and not self._ended:
            self._ended = True
            self._store.end()

    def _write(self, items: Sequence[SpillItem]) -> bool:
        if self.rendezvous is None or self._store is None or self._ended:
            return False
        if not items:
            return True
        try:
            self._store.write(self.rendezvous, pack(items))
        except Exception as error:  # a full disk, or a run directory that is not there
            self.error = self.error or error
            return False
        self.items += sum(isinstance(item, SpillRows | SpillRecord) for item in items)
        return True
