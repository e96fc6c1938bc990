"""At the end of a scheduler's job: one line on what it cost, on rank 0.

In: the run directory. Out: a line on standard error, as ``ranklog show --efficiency`` prints it. The command is started
by name, in a process of its own: what reads runs lies above what writes them, and its trouble is not the training's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ranklog.forwarding.forwarder import child_environment
from ranklog.job.facts import scheduler_facts
from ranklog.journal.layout import segments

MOST_BYTES = 256 * 1024 * 1024
"""Of a larger journal reading takes longer than the end of a job should."""
EVERY_S = 60.0
"""A program that makes many short runs in one job does not pay for each."""
_COMMAND = "from ranklog.cli import main; main()"


_told_s = float("-inf")


def tell_efficiency(run_dir: Path, environ: Mapping[str, str], timeout_s: float) -> None:
    """Print what the run cost, if it belongs to a scheduler's job, at most every `EVERY_S`; never raises."""
    global _told_s  # noqa: PLW0603 - of the process
    name, _ = scheduler_facts(environ)
    try:
        if (
            not name
            or time.monotonic() - _told_s < EVERY_S
            or sum(path.stat().st_size for _, path in segments(run_dir)) > MOST_BYTES
        ):
            return
        _told_s = time.monotonic()
        told = subprocess.run(
            [sys.executable, "-c", _COMMAND, "show", "--efficiency", str(run_dir)],
            env=child_environment(environ, {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(timeout_s, 0.0),
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return
    if told.returncode == 0:
        sys.stderr.write(f"ranklog: {told.stdout.strip()}\n")
