"""One finding of the doctor, and how a probe is kept from hanging.

In: a function that looks at something. Out: `Check` records, also where the function raises or does not come back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

Level = Literal["ok", "warn", "bad"]
_SEVERITY: dict[Level, int] = {"ok": 0, "warn": 1, "bad": 2}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        name: What was looked at, the same on every rank.
        level: ``ok``; ``warn`` works, but look at it; ``bad`` does not work.
        text: What was found, in a sentence.
        cure: What to do; empty where all is well.
        ranks: Ranks that found just this; set where reports are put together.
    """

    name: str
    level: Level
    text: str
    cure: str = ""
    ranks: tuple[int, ...] = ()


Probe = Callable[[], Sequence[Check]]


def worst(checks: Sequence[Check]) -> Level:
    """The worst level among findings.

    Example:
        >>> worst([Check(name="a", level="ok", text=""), Check(name="b", level="warn", text="")])
        'warn'
    """
    return max((check.level for check in checks), key=_SEVERITY.__getitem__, default="ok")


class Bounded:
    """A probe in a thread of its own, which is left behind when it does not come back.

    Args:
        name: For the finding that it hangs.
        probe: The probe.
        limit_s: Its time limit.
        cure: What to do where it hangs.
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
        """Whether it did not come back."""
        return self._thread.is_alive()

    def result(self) -> list[Check]:
        """What it found; waits for the rest of its time limit."""
        self._thread.join(self._limit_s)
        if self.hangs:
            text = f"no answer within {self._limit_s:g} s"
            return [Check(name=self._name, level="bad", text=text, cure=self._cure)]
        return list(self._found)


def put_together(reports: Sequence[Sequence[Check]]) -> list[Check]:
    """The findings of all ranks, by rank, as one list: equal ones once, with the ranks that have them.

    Example:
        >>> ok, bad = Check(name="disk", level="ok", text="fine"), Check(name="disk", level="bad", text="full")
        >>> [(check.text, check.ranks) for check in put_together([[ok], [bad], [ok]])]
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
