"""Which values of a run do not count any more, for summaries that cannot take a value back again. Pure.

In: entries in the order of the journal. Out: whether a value counts. A value does not count when a later attempt went
back behind it (`ranklog.journal.superseded`) or a later record corrected it. What `note` learns may concern values that
a summary holds already: then it says so, and the summary is made anew from the journal. Memory grows with the number of
names, and of corrections.
"""

from __future__ import annotations

from collections.abc import Iterator

from ranklog.journal.superseded import Rewinds
from ranklog.model.record import Attempt, Entry, Metrics


class Superseded:
    """What is known so far about values that do not count."""

    def __init__(self) -> None:
        self._rewinds = Rewinds()
        self._corrected: dict[tuple[str, int], int] = {}
        self._attempt = 0

    def note(self, entry: Entry) -> bool:
        """Take notice of an entry; whether earlier values do not count any more because of it."""
        record = entry.record
        if isinstance(record, Attempt):
            self._attempt = record.attempt
        if not isinstance(record, Metrics):
            return False
        back = self._rewinds.add(record.values, step=record.step, attempt=self._attempt)
        if record.corrects:
            self._corrected.update({(name, record.step): entry.ordinal for name in record.values})
        return bool(back) or record.corrects

    def values(self, entry: Entry, attempt: int) -> Iterator[tuple[str, float]]:
        """Names and values of an entry of that attempt which count, as far as is known."""
        record = entry.record
        if not isinstance(record, Metrics):
            return
        for name, value in record.values.items():
            corrected = self._corrected.get((name, record.step), -1) > entry.ordinal
            if not corrected and not self._rewinds.is_superseded(name, step=record.step, attempt=attempt):
                yield name, value
