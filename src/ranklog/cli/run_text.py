"""Text about a run's job, code, ranks and outlook, for ``show``, ``watch`` and ``doctor``."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.text import Text

from ranklog.cli.console import clean
from ranklog.model.facts import JobFacts, RankFacts
from ranklog.model.place import Place
from ranklog.view.outlook import Outlook
from ranklog.view.units import count, date, duration, size_text

SOON_S = 600.0
"""Below this remaining time (seconds) the job's end is highlighted."""


def place_text(place: Place) -> str:
    """Format the numbers of ranks and nodes."""
    return f"{count(place.world_size, 'rank')} on {count(place.node_count, 'node')}"


def device_text(rank: RankFacts) -> str:
    """Format the device of a rank, with the model of its GPU."""
    return clean(f"{rank.device} {rank.device_model}".rstrip() if rank.device != "cpu" else rank.device)


def versions_text(versions: Mapping[str, str]) -> str:
    """Format package names with versions."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def code_text(job: JobFacts) -> str:
    """Format the commit and the package versions of an attempt."""
    parts = []
    if job.git is not None:
        changed = {None: "", True: ", with changes", False: ""}[job.git.dirty]
        parts.append(f"{job.git.commit[:12]}{f' ({job.git.branch})' if job.git.branch else ''}{changed}")
    parts.append(versions_text(job.versions))
    return clean("; ".join(parts))


def job_text(job: JobFacts) -> str:
    """Format the facts that the scheduler gives about a job."""
    return clean(f"{job.scheduler}: " + ", ".join(f"{name} {value}" for name, value in job.facts.items()))


def rank_rows(ranks: dict[int, RankFacts]) -> list[tuple[str, ...]]:
    """Return table cells for RANK, HOST, NODE, DEVICE, CORES and MEMORY."""
    return [
        (
            str(rank.rank),
            clean(rank.host),
            str(rank.node_rank),
            device_text(rank),
            str(rank.cores),
            size_text(rank.memory_bytes) if rank.memory_bytes else "-",
        )
        for _, rank in sorted(ranks.items())
    ]


def ends_text(ends_ns: int) -> Text:
    """Format the end of the job, highlighted when it is soon."""
    left_s = ends_ns / 1e9 - time.time()
    when = f"in {duration(left_s)}" if left_s > 0 else f"{duration(-left_s)} ago"
    return Text(f"{date(ends_ns)}, {when}", style="" if left_s > SOON_S else "yellow")


def outlook_text(found: Outlook) -> Text | None:
    """Format whether the rarest metric will be logged again before the job ends; None if that is unknown."""
    if not found.metric:
        return None
    due = "was expected at" if found.due_ns < time.time_ns() else "next at"
    text = f"{clean(found.metric)} is logged about every {duration(found.interval_s)}, {due} {date(found.due_ns)}"
    if found.fit is None:
        return Text(text)
    if found.fit:
        return Text(f"{text}; {found.fit:,} more before the job ends")
    return Text(f"{text}, which is after the job ends: save a checkpoint before", style="yellow")
