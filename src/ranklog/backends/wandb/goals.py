"""Best and last values of metrics with a goal, in W&B's summary.

W&B's own ``summary="min"`` stays NaN after one NaN. The best value is therefore computed by
`ranklog.backends.shared.best` and written to the summary in W&B's format.
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

    def set_goal(self, info: MetricInfo) -> None:
        """Set a metric's goal."""
        if info.goal is None:
            return
        column = to_column(info.name)
        if "*" in column:
            # For W&B this is a pattern that matches other metrics too, and it allows one at the end only.
            self._run.write_logs(f"[ranklog] warning: W&B cannot keep the {info.goal} of {column}: its name has a *")
        elif self._best.set_goal(info):
            # An unescaped dot means a nested key. With "none", W&B's last value does not replace our summary.
            self._run.define_metric(column.replace(".", "\\."), step_metric="step", summary="none")

    def add(self, record: Metrics, attempt: int) -> None:
        """Add values that an attempt logged."""
        for name in self._best.add(record, attempt):
            self._changed.add(name)
            if not record.corrects:
                self._last[name] = record.values[name]

    def write(self) -> None:
        """Write the changes since the last call to the summary."""
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
    """Spell NaN and infinities as W&B does. Inside a mapping, W&B would turn them into null."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
