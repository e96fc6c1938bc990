"""Milliseconds for MLflow's points, by which MLflow's latest point is the one that was logged last; pure.

MLflow has milliseconds, and of one name's points takes the highest (step, time, value) for the latest, a NaN as the
value 0. Two points of one step within one millisecond, or a later one of a node whose clock is behind, would be ordered
by value. A point therefore gets at least one millisecond more than the point of its step before it.

In: the records for one backend in the order of the journal. Out: times that follow from these records alone, so that
delivering again, or from the start, gives the same ones. Holds one step per name, and more only while times stand still
or go back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ranklog.model.record import Metrics


class Times:
    """Times of the points of one run.

    Example:
        >>> times = Times()
        >>> for ordinal, value in enumerate([5.0, 3.0]):
        ...     times.note(ordinal, record := Metrics(0, 7_000_000, -1, {"loss": value}))
        ...     list(times.points(ordinal, record))
        [('loss', 5.0, 7)]
        [('loss', 3.0, 8)]
    """

    def __init__(self) -> None:
        self._next = 0
        self._names: dict[str, _Name] = {}
        self._moved: dict[int, dict[str, int]] = {}

    def note(self, ordinal: int, record: Metrics) -> None:
        """Take notice of a record; one that is known already changes nothing."""
        if ordinal < self._next:
            return
        self._next = ordinal + 1
        called_ms = _called_ms(record)
        for name in record.values:
            given_ms = self._names.setdefault(name, _Name()).give(record.step, called_ms)
            if given_ms != called_ms:
                self._moved.setdefault(ordinal, {})[name] = given_ms

    def points(self, ordinal: int, record: Metrics) -> Iterator[tuple[str, float, int]]:
        """Name, value and milliseconds of each value of a record that was noted."""
        called_ms = _called_ms(record)
        moved = self._moved.get(ordinal, {})
        for name, value in record.values.items():
            yield name, value, moved.get(name, called_ms)

    def forget(self, below: int) -> None:
        """Let go of the times of records that will not come again."""
        for ordinal in [ordinal for ordinal in self._moved if ordinal < below]:
            del self._moved[ordinal]


class _Name:
    """The times given to one name: those of its highest step, and of the steps that a point of now could meet."""

    __slots__ = ("_given", "_highest", "_latest_ms")

    def __init__(self) -> None:
        self._given: dict[int, int] = {}
        self._highest = -sys.maxsize
        self._latest_ms = -sys.maxsize

    def give(self, step: int, called_ms: int) -> int:
        before_ms = self._given.get(step)
        given_ms = called_ms if before_ms is None else max(called_ms, before_ms + 1)
        if called_ms > self._latest_ms:  # nothing that was given can be met, unless the clock goes back
            self._given = {kept: ms for kept, ms in self._given.items() if kept == self._highest}
        self._given[step] = given_ms
        self._highest = max(self._highest, step)
        self._latest_ms = max(self._latest_ms, given_ms)
        return given_ms


def _called_ms(record: Metrics) -> int:
    # A correction has the time of what it corrects, which may have been delivered in another form.
    return record.time_ns // 1_000_000 + (1 if record.corrects else 0)
