"""Keeps what a rank can no longer send: rows, letters and partial states, as items of its spill file.

In: what `Rounds` holds when the ranks can no longer talk, and what is logged after that. Out: items for a `SpillStore`,
which writes them to a file. What cannot be kept is counted. For the one thread that runs the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from ranklog.reduce.agree import RowReport
from ranklog.reduce.buffer import Row
from ranklog.reduce.gathered import report_rows
from ranklog.reduce.mail import OutgoingRecord
from ranklog.reduce.spill.merge import SpillHead, SpillItem, SpillMail, SpillRows


class SpillStore(Protocol):
    """Where items go: this rank's spill file."""

    def write(self, meeting: str, items: Sequence[SpillItem]) -> None:
        """Write items of one meeting; raises any error where it cannot."""

    def end(self) -> None:
        """Nothing more will be written."""


_ROWS_AT_ONCE = 4096


class SpillBuffer:
    """What one rank keeps.

    Args:
        rank: This rank.
        size: World size.
        keep: Writes items; None where there is nothing to write to.

    Attributes:
        meeting: Name under which a file was begun, None where there is none.
        lost: Values and records that could not be kept, and that nobody else has.
        error: Why not, once that happened.
    """

    def __init__(self, rank: int, size: int, keep: SpillStore | None) -> None:
        self._rank = rank
        self._size = size
        self._keep = keep
        self._ended = False
        self.meeting: str | None = None
        self.lost = 0
        self.error: Exception | None = None

    @property
    def working(self) -> bool:
        """Whether a file is there and takes everything."""
        return self.meeting is not None and self.error is None

    def begin(self, meeting: str, reason: str, *, received: Sequence[int]) -> None:
        """The ranks of a meeting can no longer talk; without a name of the meeting nothing can be kept."""
        if meeting and self._keep is not None:
            self.meeting = meeting
            self._write([SpillHead(self._rank, self._size, reason, time.time_ns(), tuple(received))])

    def rows(self, rows: Sequence[Row], *, in_doubt: bool = False, written: bool = False) -> None:
        """Keep rows of this rank; ``written`` ones stand in the journal already, by themselves."""
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            if self._keep_rows(some, in_doubt=in_doubt, written=written):
                continue
            for row in some:  # so that one that cannot be kept takes no other with it
                if not self._keep_rows([row], in_doubt=in_doubt, written=written) and not written:
                    self.lost += len(row.names)

    def _keep_rows(self, rows: Sequence[Row], *, in_doubt: bool, written: bool) -> bool:
        try:
            reports = report_rows(rows, 0.0)
        except Exception as error:  # a value that is no number
            self.error = self.error or error
            return False
        return self._write([SpillRows(self._rank, reports, in_doubt, written, alone=written)])

    def partial(self, rows: Mapping[int, list[RowReport]]) -> None:
        """Keep what others had sent of values that were written without all ranks."""
        self._write([SpillRows(rank, own, written=True) for rank, own in rows.items()])

    def letters(self, letters: Sequence[OutgoingRecord]) -> None:
        """Keep records that may not have arrived."""
        if letters and not self._write([SpillMail(each.serial, each.record, each.sent) for each in letters]):
            self.lost += sum(not each.sent for each in letters)

    def end(self) -> None:
        """The rank has closed its logger."""
        if self.meeting is not None and self._keep is not None and not self._ended:
            self._ended = True
            self._keep.end()

    def _write(self, items: Sequence[SpillItem]) -> bool:
        if self.meeting is None or self._keep is None or self._ended:
            return False
        if not items:
            return True
        try:
            self._keep.write(self.meeting, items)
        except Exception as error:  # a disk, or a run directory that is not there
            self.error = self.error or error
            return False
        return True
