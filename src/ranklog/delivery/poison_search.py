"""Finds the records that make a backend fail, by bisection. Pure.

A search begins when a backend has failed for one batch so often that the connection is not the reason. It halves the
batch, in order, down to the first record that fails alone. This record becomes a suspect, is left out, and the next one
is tried. When the backend accepts a later record, the suspects are to blame. A backend that accepts nothing has a
problem of its own, and no record is to blame. Each part goes to a newly opened backend.
"""

from __future__ import annotations

from collections.abc import Sequence

from ranklog.backends.shared.trouble import Trouble
from ranklog.model.record import Entry

FAILURES_ALONE: dict[Trouble, int] = {"record": 2, "unclear": 4}
"""How often the first record must fail alone to become a suspect. Records behind it are tried only once."""
MAX_SUSPECTS: dict[Trouble, int] = {"record": 16, "unclear": 4}
"""Limit of suspects: a backend that recovers during the search would make good records look guilty."""


class PoisonSearch:
    """The search in one batch.

    Attributes:
        suspects: Ordinals of records that failed alone, with the reason. To blame once a later record is accepted.
    """

    def __init__(self) -> None:
        self.suspects: dict[int, str] = {}
        self._start = 0
        self._end: int | None = None
        self._alone = 0
        self._times = 1

    @property
    def active(self) -> bool:
        """Whether a search is going on."""
        return self._end is not None

    def begin(self, batch: Sequence[Entry]) -> None:
        """Start to search in a batch."""
        self.stop()
        self._start, self._end = batch[0].ordinal, batch[-1].ordinal + 1

    def stop(self) -> None:
        """End the search and drop all suspects."""
        self.suspects = {}
        self._end = None
        self._alone = 0

    def retry_suspects(self) -> None:
        """Try the suspects once more: so much time has passed that the backend may have recovered."""
        self.suspects = {}
        self._alone = max(FAILURES_ALONE.values())

    def part(self, batch: Sequence[Entry]) -> list[Entry]:
        """Return the records to try next, from the beginning of a batch; empty when each one failed alone."""
        left = [entry for entry in batch if entry.ordinal not in self.suspects]
        if self._end is None:
            return left
        # A newly opened backend may have asked for records that it had accepted before.
        if before := [entry for entry in left if entry.ordinal < self._start]:
            return before
        if self.suspects or self._alone:
            return left[:1]
        inside = [entry for entry in left if entry.ordinal < self._end]
        if not inside:
            self.stop()
            return left
        return inside[: max(1, len(inside) // 2)]

    def accepted(self, part: Sequence[Entry]) -> dict[int, str]:
        """Record that the backend accepted a part; returns the ordinals that are now to blame, with the reason."""
        if self._end is None or (part[-1].ordinal < self._start if part else not self.suspects):
            return {}
        blamed = self.suspects
        self._alone = 0
        if blamed or part[-1].ordinal + 1 >= self._end:
            self.stop()
            self._times = 1
        else:
            self._start = part[-1].ordinal + 1
        return blamed

    def failed(self, part: Sequence[Entry], reason: str, kind: Trouble) -> bool:
        """Record that the backend failed for a part; returns False when the backend itself must be the reason."""
        if part[-1].ordinal < self._start:
            return False  # it had accepted them before
        if len(part) > 1:
            self._end = part[-1].ordinal + 1
            return True
        self._alone += 1
        if self.suspects or self._alone >= FAILURES_ALONE[kind]:
            self.suspects[part[0].ordinal] = reason
            self._start = min(self.suspects)
            self._alone = 0
        if len(self.suspects) <= MAX_SUSPECTS[kind] * self._times:
            return True
        self._times *= 2  # there may be that many bad records: the next search allows more
        return False
