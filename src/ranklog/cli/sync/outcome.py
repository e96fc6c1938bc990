"""Result of a sync for one run, with or without ``--watch``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ranklog.cli.sync.destinations import Destination
from ranklog.journal.targets import Target
from ranklog.model.errors import RanklogError
from ranklog.pipeline.reduction.merge import append_merged
from ranklog.view.deliveries import Delivery, deliveries_of
from ranklog.view.summary import ENDED, RunStatus, RunSummary


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Result for one run.

    Attributes:
        run_id: The run.
        status: Its status.
        deliveries: State of each backend that was synced.
        trouble: Why nothing could be delivered, for example because another process delivers the run.
    """

    run_id: str
    status: RunStatus
    deliveries: tuple[Delivery, ...]
    trouble: str | None = None

    @property
    def complete(self) -> bool:
        """Whether everything is delivered and nothing was set aside."""
        return self.trouble is None and all(d.has_all and not d.refused for d in self.deliveries)


def unreachable(run_dir: Path, error: Exception) -> Outcome:
    """Return the result for a run whose directory cannot be read."""
    return Outcome(run_id=run_dir.name, status="UNKNOWN", deliveries=(), trouble=f"it cannot be read: {error}")


def targets_for(run_dir: Path, destinations: Sequence[Destination]) -> list[Target] | None:
    """Return the targets for these destinations, or None for the run's own backends."""
    return [destination.target(run_dir) for destination in destinations] or None


def labels_of(targets: Sequence[Target] | None) -> set[str] | None:
    """Return the names of the targets' cursors; None for the run's own backends."""
    return {target.label for target in targets} if targets else None


def merge_spills(run_dir: Path, before: RunSummary) -> str | None:
    """Merge the spill files of a run that has ended into its journal; returns a problem or None."""
    if before.status not in ENDED:
        return None  # the run's own process may still write
    try:
        append_merged(run_dir)
    except (OSError, RanklogError) as error:
        return f"its spill files cannot be merged: {error}"
    return None


def outcome_of(summary: RunSummary, labels: set[str] | None, trouble: str | None = None) -> Outcome:
    """Return the result for a run after it was delivered to these backends."""
    counted = deliveries_of(Path(summary.run_dir))
    deliveries = tuple(d for d in counted if (d.backend in labels if labels else not d.extra))
    return Outcome(run_id=summary.facts.run_id, status=summary.status, deliveries=deliveries, trouble=trouble)
