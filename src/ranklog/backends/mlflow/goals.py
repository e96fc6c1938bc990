"""The best value of each metric that has a goal, as tags by which MLflow's search finds runs; pure.

Out: tags ``ranklog.goal.<key>`` and ``ranklog.best.<key>``. What counts is the rule of `best`.
"""

from __future__ import annotations

from ranklog.backends.mlflow.names import to_key
from ranklog.backends.shared.best import Best


class Goals(Best):
    """Goals and best values of one run."""

    def tags(self) -> dict[str, str]:
        """Tags for all goals.

        Example:
            >>> from ranklog.model.record import MetricInfo, Metrics
            >>> goals = Goals()
            >>> _ = goals.set(MetricInfo(0, -1, "val/loss", "min"))
            >>> for step, value in enumerate([3.0, 1.0, 2.0]):
            ...     _ = goals.note(Metrics(step, 0, -1, {"val/loss": value}))
            >>> goals.tags()
            {'ranklog.goal.val/loss': 'min', 'ranklog.best.val/loss': '1.0 at step 1'}
        """
        tags: dict[str, str] = {}
        for name, goal in self.goals.items():
            tags[to_key(f"ranklog.goal.{name}")] = goal
            found = self.of(name)
            if found is not None:
                tags[to_key(f"ranklog.best.{name}")] = f"{found[0]!r} at step {found[1]}"
        return tags
