"""Metrics with points out of order within an attempt, mostly because of corrections. Pure.

For each tag, TensorBoard's default server hides all points at the step of a new point and above, even if they still
count. These points are therefore written again in order when the run ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from ranklog.backends.tensorboard.events import Moment, scalars
from ranklog.backends.tensorboard.rewinds import going_back
from ranklog.journal.superseded import Rewinds
from ranklog.model.record import Attempt, Entry, Metrics


class Disorder:
    """The step from which on a tag has points out of order.

    Attributes:
        begins: This step by tag.

    Example:
        >>> disorder = Disorder()
        >>> for step in (0, 5, 3, 6):
        ...     disorder.add(["loss"], back=[], step=step)
        >>> disorder.begins
        {'loss': 3}
    """

    def __init__(self) -> None:
        self.begins: dict[str, int] = {}
        self._highest: dict[str, int] = {}

    def add(self, tags: Iterable[str], *, back: Collection[str], step: int) -> None:
        """Add points of one step; ``back`` are the tags for which their attempt returns to an earlier step."""
        for tag in tags:
            highest = step if tag in back else self._highest.get(tag, step)
            if tag in back and self.begins.get(tag, step) >= step:
                self.begins.pop(tag, None)
            elif step < highest:
                self.begins[tag] = min(step, self.begins.get(tag, step))
            self._highest[tag] = max(highest, step)


def in_order(
    entries: Iterable[Entry], begins: dict[str, int], *, tag_of: Callable[[str], str], rewinds: Rewinds
) -> Iterator[bytes]:
    """Yield events that replace the points of each tag from a step on: those that count, in order, once per step."""
    points: dict[int, dict[str, float]] = {}
    times: dict[int, int] = {}
    attempt = 0
    for entry in entries:
        record = entry.record
        if isinstance(record, Attempt):
            attempt = record.attempt
        elif isinstance(record, Metrics):
            step = record.step
            for name, value in record.values.items():
                tag = tag_of(name)
                if step >= begins.get(tag, step + 1) and not rewinds.is_superseded(tag, step=step, attempt=attempt):
                    points.setdefault(step, {})[tag] = value
                    times[step] = record.time_ns
    begun: set[str] = set()
    for step, values in sorted(points.items()):
        at = Moment(step, times[step])
        first = {tag: value for tag, value in values.items() if tag not in begun}
        if first:
            yield from going_back([scalars(first, at)], step=step, time_ns=at.time_ns)
            begun |= first.keys()
        if later := {tag: value for tag, value in values.items() if tag not in first}:
            yield scalars(later, at)
