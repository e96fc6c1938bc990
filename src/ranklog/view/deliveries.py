"""State of delivery per backend, from its cursor and the journal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from ranklog.journal.cursor import EXTRA_INDEX, Cursor, cursors_of, load_cursors
from ranklog.journal.heads import read_heads
from ranklog.journal.reader import JournalReader
from ranklog.journal.targets import is_for
from ranklog.model.identity import Member, StoragePlace, members, place_of
from ranklog.model.record import EVERY_BACKEND, Attempt, Entry
from ranklog.view.index.columns import ATTEMPT, ORDINAL, TO
from ranklog.view.index.tables import Tables


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """State of one backend.

    Attributes:
        backend: Its name, or the name of an extra cursor of ``ranklog sync --to``. Numbered from the second one of a
            name on.
        place: Its destination, as far as that is known.
        extra: Whether the backend comes from ``ranklog sync --to`` and not from the run.
        accepted: Number of its records that it has, including refused ones.
        waiting: Number of its records that it does not have yet.
        status: Status with which the run was closed there.
        known: Facts from the backend: ``run_id``, ``url``, ….
        error: Error of the last try; None after a success.
        failures: Number of failed tries so far.
        refused: Records that the backend will never accept: ordinal to reason.
        damage: Journal segments that cannot be read to their end, so that the backend lacks their records: name to
            reason.
    """

    backend: str
    place: StoragePlace
    extra: bool
    accepted: int
    waiting: int
    status: str | None
    known: dict[str, str]
    error: str | None
    failures: int
    refused: dict[str, str]
    damage: dict[str, str]

    @property
    def has_all(self) -> bool:
        """Whether the backend has every record that can be read."""
        return not (self.waiting or self.error or self.damage)


def deliveries_of(run_dir: Path) -> tuple[Delivery, ...]:
    """Return the exact state of each backend; reads the whole journal."""
    counter = DeliveryCounter(run_dir, [head.attempt for head in read_heads(run_dir)])
    for entry in JournalReader(run_dir).poll():
        counter.count(entry)
    return counter.deliveries()


class _Tally:
    def __init__(self, cursor: Cursor, member: Member | None) -> None:
        self.cursor = cursor
        self.member = member
        self.mask = EVERY_BACKEND if member is None else 0
        self.accepted = 0
        self.waiting = 0


class DeliveryCounter:
    """Counts, entry by entry, the records that each backend has and lacks.

    Args:
        run_dir: The run directory.
        attempts: Its attempts, which define the backends.
    """

    def __init__(self, run_dir: Path, attempts: Sequence[Attempt]) -> None:
        backends = members(attempts)
        cursors = cursors_of(run_dir, backends)
        self._tallies = [_Tally(cursors[member.spec.id], member) for member in backends]
        self._tallies += [_Tally(cursor, None) for index, cursor in load_cursors(run_dir) if index >= EXTRA_INDEX]

    @property
    def lowest(self) -> int:
        """Ordinal of the first record that some backend lacks; a large number without backends."""
        return min((tally.cursor.next_ordinal for tally in self._tallies), default=sys.maxsize)

    def count(self, entry: Entry) -> None:
        """Count one entry. Entries must come in order."""
        for tally in self._tallies:
            if tally.member is not None and isinstance(entry.record, Attempt):
                tally.mask = tally.member.mask(entry.record)
            if is_for(entry, tally.mask):
                accepted = entry.ordinal < tally.cursor.next_ordinal
                tally.accepted += accepted
                tally.waiting += not accepted

    def count_tables(self, tables: Tables) -> None:
        """Count all entries of a run that was indexed."""
        others = [(other.ordinal, getattr(other.record, "to", EVERY_BACKEND), other.attempt) for other in tables.others]
        rows = [np.array(others, np.int64).reshape(-1, 3).T]
        for group in tables.groups:
            rows.append(np.stack([group.shared(column, tables.reader) for column in (ORDINAL, TO, ATTEMPT)]))
        ordinal, to, attempt = np.concatenate(rows, axis=1)
        by_number = {o.attempt: o.record for o in tables.others if isinstance(o.record, Attempt)}
        for tally in self._tallies:
            mine = np.zeros(len(ordinal), np.bool_)
            for number, head in by_number.items():
                mask = EVERY_BACKEND if tally.member is None else tally.member.mask(head)
                mine |= (attempt == number) & ((to & mask) != 0)
            has = ordinal[mine] < tally.cursor.next_ordinal
            tally.accepted += int(has.sum())
            tally.waiting += int((~has).sum())

    def deliveries(self) -> tuple[Delivery, ...]:
        """Return the result."""
        return tuple(
            Delivery(
                backend=tally.cursor.backend,
                place=tally.cursor.place or (place_of(tally.member.spec) if tally.member else {}),
                extra=tally.member is None,
                accepted=tally.accepted,
                waiting=tally.waiting,
                status=tally.cursor.status,
                known=tally.cursor.known,
                error=tally.cursor.error,
                failures=tally.cursor.failures,
                refused=tally.cursor.refused,
                damage=tally.cursor.damage,
            )
            for tally in self._tallies
        )
