"""Tells which ranks left no sign since they take no part in the rounds, and which of them came back; on rank 0."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ranklog.model.facts import RankFacts
from ranklog.model.losses import SILENT
from ranklog.model.place import Place
from ranklog.pipeline.reduction.merge import ranks_without_file
from ranklog.process.warnings import Health

NOTICE_S = 2.0
"""Time that a rank needs, after its own time limit, to begin its spill file."""


class AbsentRanks:
    """Ranks that take no part in the rounds and have no spill file.

    Args:
        place: This process.
        health: Takes the report.
        run_dir: The run directory, None while it is not known.
        timeout_s: Time limit of a round.
    """

    def __init__(self, place: Place, health: Health, run_dir: Callable[[], Path | None], timeout_s: float) -> None:
        self._place = place
        self._health = health
        self._run_dir = run_dir
        self._timeout_s = timeout_s
        self._since_s: dict[int, float] = {}  # by rank: when it was first missing
        self._names: dict[int, str] = {}
        self._reported: set[int] = set()
        self._reports = 0

    def learn_names(self, facts: Iterable[RankFacts]) -> None:
        """Remember how ranks are called."""
        self._names.update((each.rank, str(each)) for each in facts)

    def update(self, missing: Sequence[int], broke_s: float) -> None:
        """Note which ranks take no part in the rounds since a round failed at this monotonic time."""
        self._since_s = {rank: self._since_s.get(rank, broke_s) for rank in missing}
        returned = sorted(self._reported.difference(missing))
        if returned:
            self._reported.intersection_update(missing)
            text = f"{self._named(returned)} answered again, and what was kept there is sent"
            self._health.warn("returned", text, about=self._next_report())
            if self._reported:
                self._warn_silent(sorted(self._reported))

    def silent(self, rendezvous: str | None) -> list[int] | None:
        """Ranks that have kept nothing in the time they have for it, None while it runs."""
        run_dir = self._run_dir()
        since_s = self._since_s
        if run_dir is None or rendezvous is None or not since_s:
            return []
        try:
            silent = ranks_without_file(run_dir, rendezvous, since_s)
        except OSError:  # a disk that refuses tells nothing
            return None
        end_s = time.monotonic() - self._timeout_s - NOTICE_S
        return silent if all(since_s[rank] <= end_s for rank in silent) else None

    def report(self, rendezvous: str | None) -> None:
        """Report once which ranks are gone."""
        if not self._place.is_main or not self._since_s.keys() - self._reported:
            return
        silent = [rank for rank in self.silent(rendezvous) or () if rank not in self._reported]
        self._reported.update(silent)
        if silent:
            self._warn_silent(sorted(self._reported))

    def _warn_silent(self, ranks: Sequence[int]) -> None:
        end = "the rank returns" if len(ranks) == 1 else "the ranks return"
        sign = f"no sign of {self._named(ranks)} since communication broke"
        text = f"{sign}: ended, stopped or hung; values that were not sent are lost unless {end}"
        self._health.warn(SILENT, text, about=self._next_report())

    def _named(self, ranks: Sequence[int]) -> str:
        named = ", ".join(self._names.get(rank, f"rank {rank}") for rank in ranks[:8])
        return f"{named} and others" if ranks[8:] else named

    def _next_report(self) -> str:
        """Distinguish each report, because it names other ranks than the one before."""
        self._reports += 1
        return str(self._reports)
