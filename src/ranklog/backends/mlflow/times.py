"""Times of MLflow's points, chosen so that MLflow's latest point is the one that was logged last. Pure.

MLflow stores milliseconds. The latest point of a metric is the one with the highest (step, time, value), where NaN
counts as 0. MLflow would therefore order two points of one step by value when they fall into one millisecond, or when
the second comes from a node whose clock is behind. A point gets at least one millisecond more than the point before it
of the same step.

The times follow from the records alone, in the order of the journal, so a second delivery gives the same times. Memory
holds one step per metric, and more only while the clock stands still or goes back.
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
        ...     times.add(ordinal, record := Metrics(0, 7_000_000, -1, {"loss": value}))
        ...     list(times.points(ordinal, record))
        [('loss', 5.0, 7)]
        [('loss', 3.0, 8)]
    """

    def __init__(self) -> None:
        self._next = 0
        self._names: dict[str, _NameTimes] = {}
        self._moved: dict[int, dict[str, int]] = {}

    def add(self, ordinal: int, record: Metrics) -> None:
        """Add a record; adding it again changes nothing."""
        if ordinal < self._next:
            return
        self._next = ordinal + 1
        called_ms = _called_ms(record)
        for name in record.values:
            given_ms = self._names.setdefault(name, _NameTimes()).give(record.step, called_ms)
            if given_ms != called_ms:
                self._moved.setdefault(ordinal, {})[name] = given_ms

    def points(self, ordinal: int, record: Metrics) -> Iterator[tuple[str, float, int]]:
        """Yield name, value and milliseconds of each value of a record that was added."""
        called_ms = _called_ms(record)
        moved = self._moved.get(ordinal, {})
        for name, value in record.values.items():
            yield name, value, moved.get(name, called_ms)

    def forget(self, below: int) -> None:
        """Forget the times of records that will not come again."""
        for ordinal in [ordinal for ordinal in self._moved if ordinal < below]:
            del self._moved[ordinal]


class _NameTimes:
    """The times given to one metric: that of its highest step, and of other steps whose times are not past yet."""

    __slots__ = ("_given", "_highest", "_latest_ms")

    def __init__(self) -> None:
        self._given: dict[int, int] = {}
        self._highest = -sys.maxsize
        self._latest_ms = -sys.maxsize

    def give(self, step: int, called_ms: int) -> int:
        before_ms = self._given.get(step)
        given_ms = called_ms if before_ms is None else max(called_ms, before_ms + 1)
        if called_ms > self._latest_ms:  # no earlier time can be equal, unless the clock goes back
            self._given = {kept: ms for kept, ms in self._given.items() if kept == self._highest}
        self._given[step] = given_ms
        self._highest = max(self._highest, step)
        self._latest_ms = max(self._latest_ms, given_ms)
        return given_ms


def _called_ms(record: Metrics) -> int:
    # A correction has the time of the record that it corrects, and MLflow may have that record already.
    return record.time_ns // 1_000_000 + (1 if record.corrects else 0)
