"""What became of a run that was to be delivered: shared by a single sync and by one that watches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ranklog.cli.sync.destinations import Destination
from ranklog.journal.targets import Target
from ranklog.model.errors import RanklogError
from ranklog.pipeline.merge import append_merged
from ranklog.view.deliveries import Delivery, deliveries_of
from ranklog.view.summary import RunStatus, RunSummary

OVER: tuple[RunStatus, ...] = ("FINISHED", "FAILED", "KILLED")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run.

    Attributes:
        run_id: The run.
        status: How it stands.
        deliveries: The backends it was to be delivered to.
        trouble: Why nothing could be delivered, for example since another process does.
    """

    run_id: str
    status: RunStatus
    deliveries: tuple[Delivery, ...]
    trouble: str | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left, and nothing was set aside."""
        return self.trouble is None and all(d.has_all and not d.refused for d in self.deliveries)


def targets_for(run_dir: Path, destinations: Sequence[Destination]) -> list[Target] | None:
    """The backends of a run to deliver to: other ones, or None for its own."""
    return [destination.target(run_dir) for destination in destinations] or None


def labels_of(targets: Sequence[Target] | None) -> set[str] | None:
    """Names of their cursors; None for the run's own."""
    return {target.label for target in targets} if targets else None


def merge_kept(run_dir: Path, before: RunSummary) -> str | None:
    """Put what ranks kept when they could no longer talk into the journal; returns trouble."""
    if before.status not in OVER:
        return None  # the run's own process may still write
    try:
        append_merged(run_dir)
    except (OSError, RanklogError) as error:
        return f"what its ranks kept cannot be merged: {error}"
    return None


def outcome_of(summary: RunSummary, labels: set[str] | None, trouble: str | None = None) -> Outcome:
    """How a run stands after it was delivered to these backends."""
    counted = deliveries_of(Path(summary.run_dir))
    deliveries = tuple(d for d in counted if (d.backend in labels if labels else not d.extra))
    return Outcome(run_id=summary.facts.run_id, status=summary.status, deliveries=deliveries, trouble=trouble)
