"""The best value of each metric with a goal, by one rule for every backend. Pure.

Takes the goals and values of a run, each once and in order. Four kinds of values do not count: those logged before the
goal, NaN and infinities, those that a later record corrected, and those that a later attempt superseded.
"""

from __future__ import annotations

import math
from typing import Literal

from ranklog.journal.superseded import Rewinds
from ranklog.model.record import MetricInfo, Metrics

Goal = Literal["min", "max"]


class Best:
    """Goals and best values of one run.

    Attributes:
        goals: The goal of each metric that has one.

    Example:
        >>> best = Best()
        >>> best.set_goal(MetricInfo(0, -1, "val/loss", "min"))
        True
        >>> for step, value in enumerate([3.0, math.nan, 1.0, 2.0]):
        ...     _ = best.add(Metrics(step, 0, -1, {"val/loss": value, "lr": 0.1}))
        >>> best.of("val/loss")
        (1.0, 2)
    """

    def __init__(self) -> None:
        self.goals: dict[str, Goal] = {}
        self._values: dict[str, dict[int, float]] = {}
        self._best: dict[str, tuple[float, int]] = {}
        self._rewinds = Rewinds()

    def of(self, name: str) -> tuple[float, int] | None:
        """Return the best value of a metric and its step, or None when there is none yet."""
        return self._best.get(name)

    def set_goal(self, info: MetricInfo) -> bool:
        """Set a metric's goal and return whether it changed. A changed goal forgets the values so far."""
        if info.goal is None or self.goals.get(info.name) == info.goal:
            return False
        self.goals[info.name] = info.goal
        self._values.pop(info.name, None)
        self._best.pop(info.name, None)
        return True

    def add(self, record: Metrics, attempt: int = 0) -> list[str]:
        """Add values that an attempt logged; returns the names of those that have a goal."""
        names = [name for name in record.values if name in self.goals]
        undone = self._rewinds.add(names, step=record.step, attempt=attempt)
        for name in names:
            values = self._values.setdefault(name, {})
            if name in undone:
                self._values[name] = values = {step: each for step, each in values.items() if step < record.step}
                self._find_best(name, values)
            if math.isfinite(record.values[name]):
                values[record.step] = record.values[name]
            else:
                values.pop(record.step, None)
            before = self._best.get(name)
            if before is not None and before[1] == record.step:
                self._find_best(name, values)
            elif record.step in values and (before is None or self._better(name, values[record.step], before[0])):
                self._best[name] = values[record.step], record.step
        return names

    def _better(self, name: str, value: float, than: float) -> bool:
        return value < than if self.goals[name] == "min" else value > than

    def _find_best(self, name: str, values: dict[int, float]) -> None:
        self._best.pop(name, None)
        for step, value in values.items():
            if name not in self._best or self._better(name, value, self._best[name][0]):
                self._best[name] = value, step
