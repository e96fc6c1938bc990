"""Hands entries to a backend and sets aside what it will never take, so that no record holds up those behind it.

Set aside, with the reason in the cursor, is what the backend refuses, whose content stays missing, and for which the
backend fails time after time while it takes other entries. A failure that is about reaching the backend
(`ranklog.backends.shared.trouble`) never counts. Reasons are bounded in length, and secrets in addresses are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from ranklog.abc import Backend, Refused
from ranklog.backends.shared.delivery_log import brief, describe, details, note
from ranklog.backends.shared.trouble import Trouble, trouble_of
from ranklog.delivery.contents import lacking_contents
from ranklog.delivery.poison import Search
from ranklog.delivery.supply import Supply
from ranklog.journal.cursor import Cursor
from ranklog.model.record import Entry

LACKING_TRIES = 3
SEARCH_AFTER: dict[Trouble, int] = {"record": 3, "unclear": 8}
"""So many failures in a row for the same batch begin a search for the entry to blame."""
END_AFTER = 20
PAUSE_S: dict[Trouble, float] = {"record": 0.0, "unclear": 1.0}
FRESH_S = 5.0
"""A suspicion that is older is tried again first; twice as long each time, for backends that take long to open."""


class Handing:
    """Hands over the entries of one backend.

    Args:
        run_dir: The run directory.
        label: The backend's name in notes.
        failures: Failures in a row that were not about reaching the backend, from an earlier process.
        clock: Monotonic seconds.
    """

    def __init__(self, run_dir: Path, label: str, failures: int, clock: Callable[[], float]) -> None:
        self._run_dir = run_dir
        self._label = label
        self._failures = failures
        self._failed_at = 0
        self._lacking_tries = 0
        self._search = Search()
        self._clock = clock
        self._last: BaseException = RuntimeError()
        self._suspected_s = 0.0
        self._fresh_s = FRESH_S

    @property
    def searching(self) -> bool:
        """Whether a search for an entry to blame is on."""
        return self._search.active

    @property
    def suspected(self) -> int:
        """How many entries of the batch failed alone."""
        return len(self._search.suspects)

    def give(self, backend: Backend, supply: Supply, cursor: Cursor, *, last: bool) -> float | None:
        """Hand over the batch that waits, or a part of it in a search, and take it out of the supply.

        Args:
            backend: Takes the entries.
            supply: Has them.
            cursor: Gets the reasons of what is set aside; is not moved.
            last: Whether the journal will not grow.

        Returns:
            None when the backend took them. Else a search is on: the seconds to wait before the next call, which has
            to come with a backend that was opened anew, and with the cursor saved: a backend that notes itself how far
            it is would pass over what is suspected.

        Raises:
            BaseException: of the backend, when no entry is to blame so far.
        """
        self._set_aside_lacking(supply, cursor)
        if self._search.suspects and self._clock() - self._suspected_s > self._fresh_s:
            self._forget(cursor)
            self._search.again()
            self._fresh_s *= 2
        part = self._search.part(supply.batch)
        if not part and self._search.suspects:
            self._blame_the_last(supply, cursor, last=last)
        left = part
        while left:
            try:
                backend.deliver(entries=tuple(left))
                break
            except Refused as refused:
                left = self._without_refused(left, refused, supply, cursor)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                return self._failed(error, part, cursor)
        self._accepted(part, supply, cursor)
        return None

    def suspect_nobody(self, cursor: Cursor) -> None:
        """The backend itself is in trouble: end a search without a result."""
        self._forget(cursor)
        self._search.stop()

    def _forget(self, cursor: Cursor) -> None:
        for ordinal in self._search.suspects:
            cursor.refused.pop(str(ordinal), None)

    def _accepted(self, part: list[Entry], supply: Supply, cursor: Cursor) -> None:
        passed = not part or part[-1].ordinal >= self._failed_at  # else it was only accepted again
        if passed:
            cursor.error = None
            cursor.stuck = 0
            self._failures = self._failures if self._search.active else 0
        blamed = self._search.accepted(part)
        if blamed:
            self._fresh_s = FRESH_S
        for ordinal, reason in blamed.items():
            note(self._run_dir, f"{self._label}: record {ordinal} is set aside: {reason}")
        _take_out(supply, {entry.ordinal for entry in part} | blamed.keys())

    def _failed(self, error: BaseException, part: list[Entry], cursor: Cursor) -> float:
        trouble = trouble_of(error)
        if trouble == "reach":
            raise error
        reason = describe(error)
        if self._search.active:
            if not self._search.suspects:
                self._suspected_s = self._clock()
            if not self._search.failed(part, reason, trouble):
                raise error
        else:
            self._failures += 1
            self._failed_at = max(self._failed_at, part[0].ordinal)
            cursor.stuck = self._failures
            if self._failures < SEARCH_AFTER[trouble]:
                raise error
            note(self._run_dir, f"{self._label}: looking for the record to blame\n{details(error)}")
            self._search.begin(part)
        cursor.refused |= {str(ordinal): why for ordinal, why in self._search.suspects.items()}
        cursor.error = reason
        self._last = error
        return 0.0 if self._search.suspects else PAUSE_S[trouble]

    def _blame_the_last(self, supply: Supply, cursor: Cursor, *, last: bool) -> None:
        """Set aside what is left of a run, where each entry failed alone: no later one can show that the backend works.

        One alone is to blame at once, several after `END_AFTER` failures: it may be the backend.

        Raises:
            BaseException: it is not so.
        """
        sure = len(supply.batch) == 1 or self._failures >= END_AFTER
        if not (sure and last and cursor.next_ordinal > 0 and trouble_of(self._last) == "record"):
            raise self._last
        self._accepted([], supply, cursor)

    def _set_aside_lacking(self, supply: Supply, cursor: Cursor) -> None:
        """Set aside entries whose content is not there at the third try in a row: a shared disk may need the others.

        Raises:
            FileNotFoundError: it is an earlier try.
        """
        found = lacking_contents(self._run_dir, supply.batch)
        new = [ordinal for ordinal, reason in found.items() if cursor.refused.get(str(ordinal)) != reason]
        self._lacking_tries = self._lacking_tries + 1 if new else 0
        if 0 < self._lacking_tries < LACKING_TRIES:
            raise FileNotFoundError(f"record {new[0]} cannot be delivered: {found[new[0]]}")
        self._lacking_tries = 0
        for ordinal, reason in found.items():
            _set_aside(Refused(reason, [ordinal]), supply, cursor)
            note(self._run_dir, f"{self._label}: record {ordinal} is set aside: {reason}")

    @staticmethod
    def _without_refused(part: list[Entry], refused: Refused, supply: Supply, cursor: Cursor) -> list[Entry]:
        left = [entry for entry in part if entry.ordinal not in refused.ordinals]
        if len(left) == len(part):
            raise RuntimeError(f"the backend refused entries it was not given: {refused.reason}") from refused
        _set_aside(refused, supply, cursor)
        return left


def _set_aside(refused: Refused, supply: Supply, cursor: Cursor) -> None:
    cursor.refused |= {str(ordinal): brief(why) or "no reason given" for ordinal, why in refused.reasons.items()}
    _take_out(supply, refused.ordinals)


def _take_out(supply: Supply, ordinals: Collection[int]) -> None:
    supply.batch = [entry for entry in supply.batch if entry.ordinal not in ordinals]
