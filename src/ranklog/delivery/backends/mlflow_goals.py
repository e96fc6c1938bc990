"""The best value of each metric that has a goal, as tags, by which MLflow's search finds runs; pure.

In: what was said about metrics, and their records, each once and in order. Out: tags ``ranklog.goal.<key>`` and
``ranklog.best.<key>``. Values of before the goal was said do not count, nor do NaN and infinities, nor what was
corrected or superseded since.
"""

from __future__ import annotations

import math
from typing import Literal

from ranklog.delivery.backends.mlflow_names import to_key
from ranklog.journal.rewind import Rewinds
from ranklog.model.record import MetricInfo, Metrics


class Goals:
    """Goals and best values of one run."""

    def __init__(self) -> None:
        self._goals: dict[str, Literal["min", "max"]] = {}
        self._values: dict[str, dict[int, float]] = {}
        self._best: dict[str, tuple[float, int]] = {}
        self._rewinds = Rewinds()

    def set(self, said: MetricInfo) -> None:
        """Note a goal; another one begins anew."""
        if said.goal is not None and self._goals.get(said.name) != said.goal:
            self._goals[said.name] = said.goal
            self._values.pop(said.name, None)
            self._best.pop(said.name, None)

    def note(self, record: Metrics, attempt: int = 0) -> None:
        """Note values that an attempt logged."""
        names = self._goals.keys() & record.values.keys()
        undone = self._rewinds.note(names, step=record.step, attempt=attempt)
        for name in names:
            values = self._values.setdefault(name, {})
            if name in undone:
                self._values[name] = values = {step: each for step, each in values.items() if step < record.step}
                self._best_of(name, values)
            if math.isfinite(record.values[name]):
                values[record.step] = record.values[name]
            else:
                values.pop(record.step, None)
            before = self._best.get(name)
            if before is not None and before[1] == record.step:
                self._best_of(name, values)
            elif record.step in values and (before is None or self._better(name, values[record.step], before[0])):
                self._best[name] = values[record.step], record.step

    def _better(self, name: str, value: float, than: float) -> bool:
        return value < than if self._goals[name] == "min" else value > than

    def _best_of(self, name: str, values: dict[int, float]) -> None:
        self._best.pop(name, None)
        for step, value in values.items():
            if name not in self._best or self._better(name, value, self._best[name][0]):
                self._best[name] = value, step

    def tags(self) -> dict[str, str]:
        """Tags for all goals.

        Example:
            >>> goals = Goals()
            >>> goals.set(MetricInfo(0, -1, "val/loss", "min"))
            >>> for step, value in enumerate([3.0, 1.0, 2.0]):
            ...     goals.note(Metrics(step, 0, -1, {"val/loss": value}))
            >>> goals.tags()
            {'ranklog.goal.val/loss': 'min', 'ranklog.best.val/loss': '1.0 at step 1'}
        """
        tags: dict[str, str] = {}
        for name, goal in self._goals.items():
            tags[to_key(f"ranklog.goal.{name}")] = goal
            if name in self._best:
                value, step = self._best[name]
                tags[to_key(f"ranklog.best.{name}")] = f"{value!r} at step {step}"
        return tags
