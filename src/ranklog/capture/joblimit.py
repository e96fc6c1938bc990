"""When the job ends: what the scheduler says about this job's time limit.

In: the environment, and where it says too little ``squeue``, which is asked once. Out: seconds.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime

ASK_S = 5.0


def time_left() -> float | None:
    """Seconds until this job's end; None where no scheduler tells."""
    end_s = end_time(os.environ)
    if end_s is None and (job := os.environ.get("SLURM_JOB_ID")):
        end_s = ask_slurm(job)
    return None if end_s is None else end_s - time.time()


def end_time(environ: Mapping[str, str]) -> float | None:
    """The end of the job in seconds since the epoch, from ``SLURM_JOB_END_TIME``; None where it is not told.

    Example:
        >>> end_time({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1767225600"})
        1767225600.0
    """
    text = environ.get("SLURM_JOB_END_TIME", "")
    return float(text) if text.isdecimal() and environ.get("SLURM_JOB_ID") else None


@functools.lru_cache(maxsize=1)
def ask_slurm(job: str) -> float | None:
    """The end of a job as ``squeue`` tells it; None where it does not."""
    squeue = shutil.which("squeue")
    if squeue is None:  # as in a container without Slurm's programs
        return None
    try:
        answer = subprocess.check_output(
            [squeue, "--noheader", "--format=%e", "--jobs", job], stderr=subprocess.DEVNULL, text=True, timeout=ASK_S
        )
        return datetime.fromisoformat(answer.strip()).timestamp()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
