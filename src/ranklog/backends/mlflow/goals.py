"""Tags with the best value of each metric with a goal, by which MLflow's search finds runs. Pure.

The tags are ``ranklog.goal.<key>`` and ``ranklog.best.<key>``. `ranklog.backends.shared.best` decides which values
count.
"""

from __future__ import annotations

from ranklog.backends.mlflow.names import to_key
from ranklog.backends.shared.best import Best


class Goals(Best):
    """Goals and best values of one run."""

    def tags(self) -> dict[str, str]:
        """Return the tags of all goals.

        Example:
            >>> from ranklog.model.record import MetricInfo, Metrics
            >>> goals = Goals()
            >>> _ = goals.set_goal(MetricInfo(0, -1, "val/loss", "min"))
            >>> for step, value in enumerate([3.0, 1.0, 2.0]):
            ...     _ = goals.add(Metrics(step, 0, -1, {"val/loss": value}))
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
