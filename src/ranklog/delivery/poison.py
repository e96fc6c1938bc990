"""Delivers batches to a backend and sets aside poisonous records, so that no record blocks those behind it.

A record is set aside in three cases: the backend refuses it, its content stays missing, or the backend keeps failing
for it while it accepts others. The reason goes to the cursor. Connection failures (`ranklog.backends.shared.trouble`)
never count. Reasons are limited in length, and secrets in addresses are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from ranklog.abc import Backend, Refused
from ranklog.backends.shared.delivery_log import brief, describe, details, note
from ranklog.backends.shared.trouble import Trouble, trouble_of
from ranklog.delivery.batches import Batches
from ranklog.delivery.missing_contents import missing_contents
from ranklog.delivery.poison_search import PoisonSearch
from ranklog.journal.cursor import Cursor
from ranklog.model.record import Entry

MISSING_TRIES = 3
SEARCH_AFTER: dict[Trouble, int] = {"record": 3, "unclear": 8}
"""Failures in a row for one batch after which the search for a poisonous record begins."""
BLAME_LAST_AFTER = 20
PAUSE_S: dict[Trouble, float] = {"record": 0.0, "unclear": 1.0}
SUSPECT_AGE_S = 5.0
"""Suspects older than this are tried again first. Doubles each time, for backends that take long to open."""


class BatchDelivery:
    """Delivers the batches of one backend.

    Args:
        run_dir: The run directory.
        label: Name of the backend in the log.
        failures: Failures in a row of an earlier process, without connection failures.
        clock: Monotonic seconds.
    """

    def __init__(self, run_dir: Path, label: str, failures: int, clock: Callable[[], float]) -> None:
        self._run_dir = run_dir
        self._label = label
        self._failures = failures
        self._failed_at = 0
        self._missing_tries = 0
        self._search = PoisonSearch()
        self._clock = clock
        self._last: BaseException = RuntimeError()
        self._suspected_s = 0.0
        self._suspect_age_s = SUSPECT_AGE_S

    @property
    def searching(self) -> bool:
        """Whether a search for a poisonous record is going on."""
        return self._search.active

    @property
    def suspected(self) -> int:
        """How many records of the batch failed alone."""
        return len(self._search.suspects)

    def deliver(self, backend: Backend, batches: Batches, cursor: Cursor, *, last: bool) -> float | None:
        """Deliver the waiting batch, or a part of it during a search, and remove it from ``batches``.

        Args:
            backend: Receives the records.
            batches: Has the waiting batch.
            cursor: Gets the reasons of records that are set aside. Its position does not change.
            last: Whether the journal will not grow any more.

        Returns:
            None when the backend accepted them. During a search, the seconds to wait before the next call. Save the
            cursor and open the backend anew before that call: a backend that remembers its own position would skip the
            suspects.

        Raises:
            BaseException: from the backend, when no record is to blame so far.
        """
        self._set_aside_missing(batches, cursor)
        if self._search.suspects and self._clock() - self._suspected_s > self._suspect_age_s:
            self._drop_suspects(cursor)
            self._search.retry_suspects()
            self._suspect_age_s *= 2
        part = self._search.part(batches.batch)
        if not part and self._search.suspects:
            self._blame_the_last(batches, cursor, last=last)
        left = part
        while left:
            try:
                backend.deliver(entries=tuple(left))
                break
            except Refused as refused:
                left = self._remove_refused(left, refused, batches, cursor)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                return self._failed(error, part, cursor)
        self._accepted(part, batches, cursor)
        return None

    def clear_suspects(self, cursor: Cursor) -> None:
        """End a search without a result: the backend itself has a problem."""
        self._drop_suspects(cursor)
        self._search.stop()

    def _drop_suspects(self, cursor: Cursor) -> None:
        for ordinal in self._search.suspects:
            cursor.refused.pop(str(ordinal), None)

    def _accepted(self, part: list[Entry], batches: Batches, cursor: Cursor) -> None:
        # Records that the backend had accepted before the failure, and accepts again, show nothing.
        if not part or part[-1].ordinal >= self._failed_at:
            cursor.error = None
            cursor.stuck = 0
            self._failures = self._failures if self._search.active else 0
        blamed = self._search.accepted(part)
        if blamed:
            self._suspect_age_s = SUSPECT_AGE_S
        for ordinal, reason in blamed.items():
            note(self._run_dir, f"{self._label}: record {ordinal} was set aside: {reason}")
        _remove(batches, {entry.ordinal for entry in part} | blamed.keys())

    def _failed(self, error: BaseException, part: list[Entry], cursor: Cursor) -> float:
        kind = trouble_of(error)
        if kind == "reach":
            raise error
        reason = describe(error)
        if self._search.active:
            if not self._search.suspects:
                self._suspected_s = self._clock()
            if not self._search.failed(part, reason, kind):
                raise error
        else:
            self._failures += 1
            self._failed_at = max(self._failed_at, part[0].ordinal)
            cursor.stuck = self._failures
            if self._failures < SEARCH_AFTER[kind]:
                raise error
            note(self._run_dir, f"{self._label}: searching for the record that makes it fail\n{details(error)}")
            self._search.begin(part)
        cursor.refused |= {str(ordinal): suspicion for ordinal, suspicion in self._search.suspects.items()}
        cursor.error = reason
        self._last = error
        return 0.0 if self._search.suspects else PAUSE_S[kind]

    def _blame_the_last(self, batches: Batches, cursor: Cursor, *, last: bool) -> None:
        """Set aside the last records of a run, when each of them failed alone.

        No later record can show that the backend works. So a single record is to blame at once, and several only after
        `BLAME_LAST_AFTER` failures, because the backend may be the reason.

        Raises:
            BaseException: the last error, when the records are not to blame yet.
        """
        certain = len(batches.batch) == 1 or self._failures >= BLAME_LAST_AFTER
        if not (certain and last and cursor.next_ordinal > 0 and trouble_of(self._last) == "record"):
            raise self._last
        self._accepted([], batches, cursor)

    def _set_aside_missing(self, batches: Batches, cursor: Cursor) -> None:
        """Set aside records whose content is missing three times in a row: a shared disk may show files late.

        Raises:
            FileNotFoundError: content is missing for the first or second time.
        """
        found = missing_contents(self._run_dir, batches.batch)
        new = [ordinal for ordinal, reason in found.items() if cursor.refused.get(str(ordinal)) != reason]
        self._missing_tries = self._missing_tries + 1 if new else 0
        if 0 < self._missing_tries < MISSING_TRIES:
            raise FileNotFoundError(f"record {new[0]} cannot be delivered: {found[new[0]]}")
        self._missing_tries = 0
        for ordinal, reason in found.items():
            _set_aside(Refused(reason, [ordinal]), batches, cursor)
            note(self._run_dir, f"{self._label}: record {ordinal} was set aside: {reason}")

    @staticmethod
    def _remove_refused(part: list[Entry], refused: Refused, batches: Batches, cursor: Cursor) -> list[Entry]:
        left = [entry for entry in part if entry.ordinal not in refused.ordinals]
        if len(left) == len(part):
            raise RuntimeError(f"the backend refused records that it did not get: {refused.reason}") from refused
        _set_aside(refused, batches, cursor)
        return left


def _set_aside(refused: Refused, batches: Batches, cursor: Cursor) -> None:
    cursor.refused |= {str(ordinal): brief(reason) or "no reason given" for ordinal, reason in refused.reasons.items()}
    _remove(batches, refused.ordinals)


def _remove(batches: Batches, ordinals: Collection[int]) -> None:
    batches.batch = [entry for entry in batches.batch if entry.ordinal not in ordinals]
