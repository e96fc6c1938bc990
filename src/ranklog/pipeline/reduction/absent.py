"""Tells, after the ranks can no longer talk, which of them left no sign; on rank 0."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ranklog.model.facts import RankFacts
from ranklog.model.losses import SILENT
from ranklog.model.place import Place
from ranklog.pipeline.reduction.merge import silent_ranks
from ranklog.process.warnings import Health

NOTICE_S = 2.0
"""Time that a rank needs, after its own time limit, to begin its spill file."""


class AbsentRanks:
    """Ranks without a spill file.

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
        self._failed_s: float | None = None
        self._names: dict[int, str] = {}
        self._reported = False

    def learn_names(self, facts: Iterable[RankFacts]) -> None:
        """Remember how ranks are called."""
        self._names.update((each.rank, str(each)) for each in facts)

    def began(self) -> None:
        """The ranks can no longer talk, from the first call on."""
        self._failed_s = self._failed_s or time.monotonic()

    def silent(self, rendezvous: str | None) -> list[int] | None:
        """Ranks that have kept nothing in the time they have for it, None while it runs."""
        run_dir = self._run_dir()
        if run_dir is None or rendezvous is None:
            return []
        try:
            silent = silent_ranks(run_dir, rendezvous, self._place.world_size)
        except OSError:  # a disk that refuses tells nothing
            return None
        waited = time.monotonic() - (self._failed_s or 0.0) >= self._timeout_s + NOTICE_S
        return silent if waited or not silent else None

    def report(self, rendezvous: str | None) -> None:
        """Report once which ranks are gone."""
        if (
            self._reported
            or rendezvous is None
            or not self._place.is_main
            or (silent := self.silent(rendezvous)) is None
        ):
            return
        self._reported = True
        if silent:
            named = ", ".join(self._names.get(rank, f"rank {rank}") for rank in silent[:8])
            named += " and others" if silent[8:] else ""
            text = f"no sign of {named} since communication broke: ended or hung; values that were not sent are lost"
            self._health.warn(SILENT, text)
