"""Superseded points: a later attempt went back to an earlier step and logged again. Pure.

In: metrics in the order of the journal, with the attempt that logged them. Out: for each name, the step from which an
attempt replaces the earlier ones. The rule is that of TensorBoard's ``purge_step``, per name. When an attempt logs a
name for the first time, at step s, it supersedes all points of that name from s on in earlier attempts. This includes
points that the new attempt never reaches again, because the training that made them was undone.
"""

from __future__ import annotations

from collections.abc import Iterable


class Rewinds:
    """First step of each name in each attempt.

    Example:
        >>> rewinds = Rewinds()
        >>> rewinds.add(["loss"], step=90, attempt=0)
        []
        >>> rewinds.add(["loss", "new"], step=80, attempt=1)
        ['loss']
        >>> rewinds.is_superseded("loss", step=90, attempt=0), rewinds.is_superseded("loss", step=79, attempt=0)
        (True, False)
        >>> rewinds.is_superseded("loss", step=90, attempt=1)
        False
    """

    def __init__(self) -> None:
        self._began: dict[str, dict[int, int]] = {}
        self._highest: dict[str, int] = {}

    def add(self, names: Iterable[str], *, step: int, attempt: int) -> list[str]:
        """Add values that an attempt logged; return the names with which it now goes back."""
        back: list[str] = []
        for name in names:
            began = self._began.setdefault(name, {})
            highest = self._highest.get(name, step)
            if attempt not in began:
                if began and step <= highest:
                    back.append(name)
                began[attempt] = step
            self._highest[name] = max(highest, step)
        return back

    def is_superseded(self, name: str, *, step: int, attempt: int) -> bool:
        """Return whether a later attempt went back to this step or an earlier one."""
        began = self._began.get(name)
        return began is not None and any(later > attempt and first <= step for later, first in began.items())
