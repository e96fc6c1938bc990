"""What the records of a run say that are not metrics."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ranklog.model.facts import JobFacts, RankFacts
from ranklog.model.record import LAST_LINES, Attempt, End, Event, Item, Params, Record
from ranklog.model.spec import Scalar
from ranklog.view.index.tables import Tables
from ranklog.view.summary import attempts_of


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """One item without its content."""

    ordinal: int
    kind: str
    name: str
    step: int
    rank: int
    media: str
    files: int
    size: int
    time_ns: int


class RunRecords:
    """Answers from the tables of an index, as they are when asked.

    Args:
        tables: Tables of the run.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def _all(self) -> Iterator[Record]:
        return (other.record for other in self._tables.others)

    @property
    def attempts(self) -> list[Attempt]:
        """Attempts in order. Every segment of the journal begins with its attempt."""
        return attempts_of(record for record in self._all() if isinstance(record, Attempt))

    @property
    def end(self) -> End | None:
        """Record that ended the last attempt; None if there is none."""
        newest = (other.record for other in reversed(self._tables.others))
        last = next((record for record in newest if isinstance(record, (End, Attempt))), None)
        return last if isinstance(last, End) else None

    @property
    def ranks(self) -> dict[int, RankFacts]:
        """Facts of the ranks of the last attempt, by rank."""
        found: dict[int, RankFacts] = {}
        attempt, ended = None, False
        for record in self._all():
            if isinstance(record, Attempt) and (record.attempt != attempt or ended):
                attempt, ended = record.attempt, False  # the run resumed
                found.clear()
            elif isinstance(record, RankFacts):
                found[record.rank] = record
            ended = ended or isinstance(record, End)
        return found

    @property
    def jobs(self) -> dict[int, JobFacts]:
        """Facts about the job of each attempt, by attempt number."""
        return {each.attempt: each.record for each in self._tables.others if isinstance(each.record, JobFacts)}

    @property
    def params(self) -> dict[str, Scalar]:
        """Hyperparameters. A later value of a name replaces the earlier one."""
        found: dict[str, Scalar] = {}
        for record in self._all():
            if isinstance(record, Params):
                found.update(record.values)
        return found

    @property
    def events(self) -> list[Event]:
        """Events of the run, in order."""
        return [record for record in self._all() if isinstance(record, Event)]

    @property
    def items(self) -> list[ItemRow]:
        """Logged items: everything except metrics and parameters."""
        return [
            ItemRow(
                ordinal=other.ordinal,
                kind=other.record.kind,
                name=other.record.name,
                step=other.record.step,
                rank=other.record.rank,
                media=other.record.media,
                files=len(other.record.files),
                size=sum(file.size for file in other.record.files),
                time_ns=other.record.time_ns,
            )
            for other in self._tables.others
            if isinstance(other.record, Item)
        ]

    @property
    def last_words(self) -> dict[int, str]:
        """Last output of processes that ended badly, by rank."""
        items = (record for record in self._all() if isinstance(record, Item))
        return {
            item.rank: item.files[0].data.decode(errors="replace")
            for item in items
            if item.name.startswith(LAST_LINES) and item.files and item.files[0].data is not None
        }
