"""Times of the job from the scheduler, and the component of a heterogeneous job.

In: the environment, and ``squeue`` if that is not enough, which runs once. Out: seconds since the epoch; the number of
a component.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime

import msgspec

ASK_S = 5.0
_SQUEUE_FORMAT = "%V|%S|%e"


class JobTimes(msgspec.Struct, frozen=True):
    """Times of a job in seconds since the epoch; None if unknown."""

    submitted_s: float | None = None
    started_s: float | None = None
    ends_s: float | None = None


def time_left() -> float | None:
    """Return the seconds until this job ends; None if no scheduler knows."""
    end_s = end_time(os.environ)
    if end_s is None and (job := os.environ.get("SLURM_JOB_ID")):
        end_s = ask_slurm(job).ends_s
    return None if end_s is None else end_s - time.time()


def job_times(environ: Mapping[str, str]) -> JobTimes:
    """Return all known times of this job; asks Slurm."""
    job = environ.get("SLURM_JOB_ID")
    if not job:
        return JobTimes()
    times = ask_slurm(job)
    return msgspec.structs.replace(times, ends_s=end_time(environ) or times.ends_s)


def end_time(environ: Mapping[str, str]) -> float | None:
    """Return the end of the job from ``SLURM_JOB_END_TIME``, in seconds since the epoch; None if it is not set.

    Example:
        >>> end_time({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1767225600"})
        1767225600.0
    """
    text = environ.get("SLURM_JOB_END_TIME", "")
    return float(text) if text.isdecimal() and environ.get("SLURM_JOB_ID") else None


def component(environ: Mapping[str, str]) -> str:
    """Return the component of a heterogeneous Slurm job that this step runs on. Pure.

    Slurm sets no variable for it, but lists the nodes of the step and of each component. Empty if the job has no
    components, or if the step spans several of them.

    Example:
        >>> nodes = {"SLURM_JOB_NODELIST_HET_GROUP_0": "n1", "SLURM_JOB_NODELIST_HET_GROUP_1": "n2"}
        >>> job = {"SLURM_HET_SIZE": "2", **nodes}
        >>> component({**job, "SLURM_JOB_NODELIST": "n2"}), component({**job, "SLURM_JOB_NODELIST": "n[1-2]"})
        ('1', '')
    """
    size = environ.get("SLURM_HET_SIZE", "")
    nodes = environ.get("SLURM_JOB_NODELIST")
    groups = map(str, range(int(size) if size.isdecimal() else 0))
    found = [group for group in groups if nodes and environ.get(f"SLURM_JOB_NODELIST_HET_GROUP_{group}") == nodes]
    return found[0] if len(found) == 1 else ""


@functools.lru_cache(maxsize=1)
def ask_slurm(job: str) -> JobTimes:
    """Return the times of a job from ``squeue``."""
    squeue = shutil.which("squeue")
    if squeue is None:  # for example in a container without Slurm
        return JobTimes()
    command = [squeue, "--noheader", f"--format={_SQUEUE_FORMAT}", "--jobs", job]
    try:
        answer = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True, timeout=ASK_S)
    except (OSError, subprocess.SubprocessError):
        return JobTimes()
    return parse_times(answer)


def parse_times(answer: str) -> JobTimes:
    """Parse the output of ``squeue``. Anything that is not a time (``N/A``, ``UNLIMITED``) becomes None.

    Example:
        >>> parse_times("N/A|N/A|NONE")
        JobTimes(submitted_s=None, started_s=None, ends_s=None)
        >>> times = parse_times("2026-03-01T12:00:00|2026-03-01T12:00:30|2026-03-01T13:00:30")
        >>> times.started_s - times.submitted_s, times.ends_s - times.started_s
        (30.0, 3600.0)
    """
    lines = answer.strip().splitlines()
    parts = (lines[0].split("|") if lines else []) + [""] * 3
    return JobTimes(*map(_seconds, parts[:3]))


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        return None
