"""Metrics with a goal in W&B's summary: the best value and the last one.

W&B's own ``summary="min"`` is NaN for good after one NaN, so the best is kept here, by the rule of `best`, and written
to the summary as W&B would have written it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ranklog.backends.shared.best import Best
from ranklog.backends.wandb.names import to_column
from ranklog.model.record import MetricInfo, Metrics

if TYPE_CHECKING:
    import wandb


class Goals:
    """Goals of one W&B run.

    Args:
        run: The open run.
    """

    def __init__(self, run: wandb.Run) -> None:
        self._run = run
        self._best = Best()
        self._last: dict[str, float] = {}
        self._changed: set[str] = set()

    def set(self, said: MetricInfo) -> None:
        """Note a goal."""
        if said.goal is None:
            return
        column = to_column(said.name)
        if "*" in column:
            # W&B takes it for a pattern, of other metrics too, and refuses it elsewhere than at the end.
            self._run.write_logs(f"[ranklog] warning: W&B cannot keep the {said.goal} of {column}: its name has a *")
        elif self._best.set(said):
            # A dot would be a way into a mapping. With "none", W&B's own last value does not replace the summary.
            self._run.define_metric(column.replace(".", "\\."), step_metric="step", summary="none")

    def note(self, record: Metrics, attempt: int) -> None:
        """Note values that an attempt logged."""
        for name in self._best.note(record, attempt):
            self._changed.add(name)
            if not record.corrects:
                self._last[name] = record.values[name]

    def write(self) -> None:
        """Put what has changed since into the summary."""
        for name in sorted(self._changed):
            shown: dict[str, float | str] = {}
            found = self._best.of(name)
            if found is not None:
                shown[self._best.goals[name]] = found[0]
            if name in self._last:
                shown["last"] = _finite_or_text(self._last[name])
            self._run.summary.update({to_column(name): shown})
        self._changed.clear()


def _finite_or_text(value: float) -> float | str:
    """As W&B spells what JSON has no number for; in a mapping it would make a null of it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
