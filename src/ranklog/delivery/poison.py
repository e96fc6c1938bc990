"""Finds the entries for which a backend fails, so that they can be set aside and the rest goes on. Pure.

A search begins when a backend has failed for one batch so often that trouble on the way is not the reason. It halves
the batch, in order, down to the first entry that fails alone; that one is left out and the next one tried. Only when
the backend takes one are those before it to blame: a backend that takes nothing is in trouble itself, and nothing is
set aside. Each part comes to a backend that was opened anew, from where it had accepted everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from ranklog.backends.shared.trouble import Trouble
from ranklog.model.record import Entry

ALONE: dict[Trouble, int] = {"record": 2, "unclear": 4}
"""How often the first entry has to fail alone to be suspected; those behind it are tried once, at once."""
MOST_SUSPECTS: dict[Trouble, int] = {"record": 16, "unclear": 4}
"""So many may be suspected: a backend that comes back while they are tried makes them look guilty."""


class Search:
    """The search in one batch.

    Attributes:
        suspects: Entries that failed alone, with the reason; to blame once a later one is taken.
    """

    def __init__(self) -> None:
        self.suspects: dict[int, str] = {}
        self._start = 0
        self._end: int | None = None
        self._alone = 0
        self._times = 1

    @property
    def active(self) -> bool:
        """Whether a search is on."""
        return self._end is not None

    def begin(self, batch: Sequence[Entry]) -> None:
        """Look for what makes this batch fail."""
        self.stop()
        self._start, self._end = batch[0].ordinal, batch[-1].ordinal + 1

    def stop(self) -> None:
        """Search no more; nobody is suspected."""
        self.suspects = {}
        self._end = None
        self._alone = 0

    def again(self) -> None:
        """Try what is suspected once more: too much time has passed, the backend may have come back."""
        self.suspects = {}
        self._alone = max(ALONE.values())

    def part(self, batch: Sequence[Entry]) -> list[Entry]:
        """The entries to deliver next, from the beginning of a batch; empty where each failed alone."""
        left = [entry for entry in batch if entry.ordinal not in self.suspects]
        if self._end is None:
            return left
        # A backend that was opened anew may have asked for what it had accepted before.
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
        """The backend took a part; returns the entries that are now to blame, with the reason."""
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

    def failed(self, part: Sequence[Entry], reason: str, trouble: Trouble) -> bool:
        """The backend failed for a part; False when so many failed in a row that it must be the backend."""
        if part[-1].ordinal < self._start:
            return False  # it had taken them before
        if len(part) > 1:
            self._end = part[-1].ordinal + 1
            return True
        self._alone += 1
        if self.suspects or self._alone >= ALONE[trouble]:
            self.suspects[part[0].ordinal] = reason
            self._start = min(self.suspects)
            self._alone = 0
        if len(self.suspects) <= MOST_SUSPECTS[trouble] * self._times:
            return True
        self._times *= 2  # there may be that many: the next search goes further
        return False
