"""Findings of the doctor, and probes with a time limit.

In: a function that checks something. Out: `Check` records, even if the function raises or hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

Level = Literal["ok", "warn", "bad"]
_SEVERITY: dict[Level, int] = {"ok": 0, "warn": 1, "bad": 2}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One finding.

    Attributes:
        name: Subject of the check, the same on every rank.
        level: ``ok``; ``warn`` works with a problem; ``bad`` does not work.
        text: The finding in one sentence.
        cure: Advice; empty if there is no problem.
        ranks: Ranks with exactly this finding; set by `merge_reports`.
    """

    name: str
    level: Level
    text: str
    cure: str = ""
    ranks: tuple[int, ...] = ()


Probe = Callable[[], Sequence[Check]]


def worst(checks: Sequence[Check]) -> Level:
    """Return the worst level.

    Example:
        >>> worst([Check(name="a", level="ok", text=""), Check(name="b", level="warn", text="")])
        'warn'
    """
    return max((check.level for check in checks), key=_SEVERITY.__getitem__, default="ok")


class TimedProbe:
    """A probe with a time limit. It runs in its own thread, which is abandoned when it hangs.

    Args:
        name: Name of the finding if it hangs or raises.
        probe: The probe.
        limit_s: Its time limit.
        cure: Advice if it hangs or raises.
    """

    def __init__(self, name: str, probe: Probe, limit_s: float, cure: str = "") -> None:
        self._name = name
        self._probe = probe
        self._limit_s = limit_s
        self._cure = cure
        self._found: Sequence[Check] = ()
        self._thread = threading.Thread(target=self._run, name=f"doctor-{name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._probe()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self._found = [Check(name=self._name, level="bad", text=text, cure=self._cure)]

    @property
    def hangs(self) -> bool:
        """Whether it has not returned."""
        return self._thread.is_alive()

    def result(self) -> list[Check]:
        """Return its findings; waits for at most the time limit."""
        self._thread.join(self._limit_s)
        if self.hangs:
            text = f"no answer within {self._limit_s:g} s"
            return [Check(name=self._name, level="bad", text=text, cure=self._cure)]
        return list(self._found)


def merge_reports(reports: Sequence[Sequence[Check]]) -> list[Check]:
    """Merge the findings of all ranks. Equal findings appear once, with their ranks.

    Example:
        >>> ok, bad = Check(name="disk", level="ok", text="fine"), Check(name="disk", level="bad", text="full")
        >>> [(check.text, check.ranks) for check in merge_reports([[ok], [bad], [ok]])]
        [('full', (1,)), ('fine', (0, 2))]
    """
    order: dict[str, int] = {}
    found: dict[Check, list[int]] = {}
    for rank, report in enumerate(reports):
        for check in report:
            order.setdefault(check.name, len(order))
            found.setdefault(check, []).append(rank)
    merged = [msgspec.structs.replace(check, ranks=tuple(ranks)) for check, ranks in found.items()]
    return sorted(merged, key=lambda check: (order[check.name], -_SEVERITY[check.level], check.ranks))
