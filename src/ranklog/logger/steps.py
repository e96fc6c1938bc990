"""Counts the calls of `log` without a step, per backend. Pure.

A backend's step is the number, from 0, of the call among those that its ``log_freq`` took under that name. Its x axis
therefore does not depend on the other backends of the run.
"""

from __future__ import annotations

from collections.abc import Iterable


class StepCounts:
    """Next step of each name, by backend.

    Example:
        >>> counts = StepCounts()
        >>> counts.take(["loss"], 0b11), counts.take(["loss"], 0b01), counts.take(["loss"], 0b11)
        ({0: 3}, {1: 1}, {2: 1, 1: 2})
    """

    def __init__(self) -> None:
        self._next: dict[int, dict[str, int]] = {}

    def take(self, names: Iterable[str], mask: int) -> dict[int, int]:
        """Count one call; returns its steps with the backends that have each.

        Args:
            names: What is logged; several names share a step, the highest of theirs.
            mask: Backends that take the call.
        """
        names = tuple(names)
        steps: dict[int, int] = {}
        while mask:
            bit = mask & -mask
            mask ^= bit
            counts = self._next.setdefault(bit, {})
            step = max(counts.get(name, 0) for name in names)
            counts.update(dict.fromkeys(names, step + 1))
            steps[step] = steps.get(step, 0) | bit
        return steps
