"""Helpers that start a Slurm of two virtual nodes on loopback, submit jobs to it and wait for them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runtimes import environment

ROOT = Path(__file__).parents[2]
VENV = Path(sys.executable).parents[1]
NEWER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ranklog" / "slurm"
"""The unpacked Slurm of scripts/setup-runtimes.sh, newer than the machine's own."""
OVER = frozenset(["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"])


def wait_until(condition: Callable[[], bool], timeout_s: float = 120, why: Callable[[], str] = str) -> None:
    """Wait until a condition holds, for events in other processes.

    Args:
        condition: Called twice per second. Slurm and servers need CPU time for each answer.
        timeout_s: Seconds until the test fails.
        why: Returns the message of the failure.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.5)


class Slurm:
    """A cluster that runs until it is stopped.

    Args:
        folder: Folder for its configuration, state and logs.
        unpacked: Slurm to use instead of the machine's own.
    """

    def __init__(self, folder: Path, unpacked: Path | None = None) -> None:
        self._folder = folder
        self._unpacked = unpacked
        words = (ROOT / "scripts" / "slurm-up.sh", folder, *((unpacked,) if unpacked else ()))
        subprocess.run(words, check=True, timeout=90)

    def stop(self) -> None:
        """Cancel the jobs that a failed test left behind, then stop the daemons."""
        try:
            self.ask("scancel", "--user=root", check=False)
            wait_until(lambda: not self.ask("squeue", "-h", "-o", "%i").strip())
        finally:
            subprocess.run([self._folder / "down.sh"], check=False, timeout=120)

    def environment(self, **extra: str) -> dict[str, str]:
        """Return a user's environment on the login node."""
        path = environment()["PATH"]
        return environment(
            PATH=f"{VENV / 'bin'}:{self._unpacked / 'usr' / 'bin'}:{path}" if self._unpacked else path,
            SLURM_CONF=str(self._folder / "slurm.conf"),
            VENV=str(VENV),
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="1",  # all addresses of this cluster are 127.0.0.1
            # A cluster has these by itself: MPI over PMIx between nodes that share an address here.
            OPAL_PREFIX=sys.prefix,
            PMIX_MCA_psec="native",
            PMIX_MCA_ptl_tcp_if_include="lo",
            OMPI_MCA_btl="self,tcp",
            OMPI_MCA_btl_tcp_if_include="lo",
            **extra,
        )

    def ask(self, *command: str, check: bool = True, cwd: Path | None = None, **extra: str) -> str:
        """Return the output of one of Slurm's commands."""
        done = self._run(command, cwd, extra)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def _run(
        self, command: Sequence[str], cwd: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = self.environment(**(extra or {}))
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60, cwd=cwd
        )

    def submit(self, *words: str | Path, cwd: Path | None = None, **extra: str) -> str:
        """Submit a job; returns its number."""
        return self.ask("sbatch", "--parsable", *map(str, words), cwd=cwd, **extra).strip()

    def submit_lines(self, folder: Path, options: str, lines: str) -> str:
        """Submit a script of these lines, whose output goes to ``output`` in a folder; returns the job's number."""
        script = folder / "job.sbatch"
        script.write_text(f"#!/bin/bash\n#SBATCH {options} -o {folder}/output\n{lines}\n")
        return self.submit(script)

    def is_there(self, job: str) -> bool:
        """Return whether a job, a task of a job array, or a component of a job still waits or runs.

        A controller that is too busy to answer has said nothing: only a job that it no longer knows is over.
        """
        done = self._run(("squeue", "-h", "-j", job, "-t", "all", "-o", "%T"))
        if done.returncode:
            return "Invalid job id" not in done.stderr
        return any(state not in OVER for state in done.stdout.split())

    def wait(self, job: str, timeout_s: float = 240) -> str:
        """Wait for the end of a job; returns Slurm's description of it."""
        wait_until(lambda: not self.is_there(job), timeout_s, lambda: self.ask("scontrol", "show", "job", job))
        return self.ask("scontrol", "show", "job", job)

    def start_now(self, job: str) -> None:
        """Start a requeued job without the two minutes for which Slurm holds it.

        A node remembers in whole seconds which jobs it killed. It refuses a job that returns within the same second
        ("already killed, do not launch"), which then fails. The start therefore waits until that second is over.
        """
        # Slurm returns the components of a heterogeneous job to the queue one after the other.
        wait_until(lambda: set(self.ask("squeue", "-h", "-j", job, "-o", "%T").split()) == {"PENDING"})
        over_s = int(time.time()) + 2
        wait_until(lambda: time.time() >= over_s)
        self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
