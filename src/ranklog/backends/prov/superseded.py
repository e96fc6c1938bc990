"""Values of a run that do not count any more, for summaries that cannot remove a value. Pure.

Takes entries in the order of the journal. A value does not count if a later attempt superseded it
(`ranklog.journal.superseded`) or a later record corrected it. `SupersededValues.add` reports that earlier values
stopped counting; the summaries then have to be built again from the journal. Memory grows with the number of names
and corrections.
"""

from __future__ import annotations

from collections.abc import Iterator

from ranklog.journal.superseded import Rewinds
from ranklog.model.record import Attempt, Entry, Metrics


class SupersededValues:
    """The values that do not count, as far as the entries so far say."""

    def __init__(self) -> None:
        self._rewinds = Rewinds()
        self._corrected: dict[tuple[str, int], int] = {}
        self._attempt = 0

    def add(self, entry: Entry) -> bool:
        """Add an entry and return whether earlier values stop counting because of it."""
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
        """Yield the names and values of an entry that count."""
        record = entry.record
        if not isinstance(record, Metrics):
            return
        for name, value in record.values.items():
            corrected = self._corrected.get((name, record.step), -1) > entry.ordinal
            if not corrected and not self._rewinds.is_superseded(name, step=record.step, attempt=attempt):
                yield name, value
