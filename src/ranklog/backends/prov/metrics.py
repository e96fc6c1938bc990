"""Metrics in the provenance: one summary per metric, and the epochs of each context. Pure.

Memory is bounded by the number of metrics, not of steps.

The journal has steps and no epochs. The steps of the metric that a context logs least often are taken for its epochs,
if there are at least two and at most `MAX_EPOCHS`, and at most `OFTEN` times as many as in another context. With one
loss per batch and one accuracy per epoch, the epochs are the steps of the accuracy. A run with one loss per batch and
no other metric has its batches as epochs if they are few, and no epochs if they are many.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Literal, NamedTuple

from ranklog.model.record import Coverage, MetricInfo, Metrics

MAX_EPOCHS = 1000
OFTEN = 10
DEFAULT_CONTEXT = "training"
SYSTEM_CONTEXT = "system"
_FEWEST_EPOCHS = 2
_BY_PREFIX = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "system": SYSTEM_CONTEXT,
}


class EpochMark(NamedTuple):
    """A step of a metric and its time."""

    step: int
    time_ns: int


def context_of(name: str, info: MetricInfo | None) -> str:
    """Return the context of a metric: the logged one, or else the one that its name suggests.

    Example:
        >>> context_of("val/loss", None), context_of("loss", None)
        ('validation', 'training')
    """
    if info is not None and info.context:
        return info.context
    return _BY_PREFIX.get(name.partition("/")[0], DEFAULT_CONTEXT)


class MetricSummary:
    """The summary of all values of one metric.

    Attributes:
        name: The user's identifier.
        context: Its context, for example ``training``.
        goal: Whether smaller or larger values are better; None if unknown.
        values: Number of values that count.
        nonfinite: Number of these that are NaN or infinite.
        first: The value that was logged first, and its step.
        last: The value of the highest step, and that step.
        min: Lowest finite value; infinity if there is none.
        max: Highest finite value; minus infinity if there is none.
        op: The reduction behind the last value, None for values of one rank.
        coverage: The lowest coverage of all values, None for values of one rank.
        first_ns: Time of its first value.
        last_ns: Time of its last value.
    """

    def __init__(self, name: str, context: str) -> None:
        self.name = name
        self.context = context
        self.goal: Literal["min", "max"] | None = None
        self.values = 0
        self.nonfinite = 0
        self.first: tuple[float, int] = (math.nan, 0)
        self.last: tuple[float, int] = (math.nan, 0)
        self.min = math.inf
        self.max = -math.inf
        self.op: str | None = None
        self.coverage: Coverage | None = None
        self.first_ns = 0
        self.last_ns = 0
        self._steps: array[int] | None = array("q")
        self._times: array[int] = array("q")

    def add(self, value: float, record: Metrics) -> None:
        """Add a value."""
        if not self.values:
            self.first, self.first_ns = (value, record.step), record.time_ns
        if not self.values or record.step >= self.last[1]:
            self.last, self.op = (value, record.step), record.op
        self.values += 1
        self.last_ns = max(self.last_ns, record.time_ns)
        if math.isfinite(value):
            self.min, self.max = min(self.min, value), max(self.max, value)
        else:
            self.nonfinite += 1
        if record.coverage is not None and (self.coverage is None or record.coverage.share < self.coverage.share):
            self.coverage = record.coverage
        self._add_step(record)

    def _add_step(self, record: Metrics) -> None:
        if self._steps is None or (self._steps and record.step <= self._steps[-1]):
            return
        self._steps.append(record.step)
        self._times.append(record.time_ns)
        if len(self._steps) > MAX_EPOCHS:
            self._steps, self._times = None, array("q")

    @property
    def steps(self) -> int | None:
        """Number of steps; None if there are too many to be epochs."""
        return None if self._steps is None else len(self._steps)

    def epoch_marks(self) -> list[EpochMark]:
        """Return the steps with their times; nothing if there are too many to be epochs."""
        return [EpochMark(step, time_ns) for step, time_ns in zip(self._steps or (), self._times, strict=True)]


def epochs_of(summaries: Iterable[MetricSummary]) -> dict[str, list[EpochMark]]:
    """Return the epochs of each context that has some, from all metrics of a run."""
    rarest: dict[str, tuple[int, MetricSummary]] = {}
    for summary in summaries:
        steps = summary.steps
        # The sampling rate of system metrics is unrelated to epochs.
        if summary.context == SYSTEM_CONTEXT or steps is None or steps < _FEWEST_EPOCHS:
            continue
        if summary.context not in rarest or steps < rarest[summary.context][0]:
            rarest[summary.context] = (steps, summary)
    most = OFTEN * min((steps for steps, _ in rarest.values()), default=0)
    return {context: summary.epoch_marks() for context, (steps, summary) in rarest.items() if steps <= most}
