"""Notices a launcher of which a container, or a cleaned environment, has left no variable.

Under ``srun … apptainer exec --cleanenv`` nothing of Slurm is left in the environment, and every task would take
itself for rank 0 of 1. What started a process still shows: in the names of its parents, which Apptainer does not hide
(``slurmstepd: [17.0]`` is step 0 of job 17), and in its control group, where Slurm makes one. Reads /proc only.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ranklog.model.errors import LaunchError
from ranklog.model.place import Place
from ranklog.world.place.detect import STRATEGY_VARIABLE, detect_place, is_forced_single

# Batch scripts, interactive steps and extern have a word instead of the number: nothing is hidden from those.
_STEP = re.compile(r"slurmstepd: \[(?P<step>[0-9+_]+\.[0-9]+)(\]|\0)")  # the end may be cut off
_GROUP = re.compile(r"/job_(?P<job>[0-9]+)/step_(?P<step>[0-9]+)(/|$)", re.MULTILINE)

# Programs that start ranks, by the name that the kernel keeps, which has 15 letters at most.
_STARTERS = {
    "prterun": "Open MPI", "prted": "Open MPI", "orterun": "Open MPI", "orted": "Open MPI", "mpirun": "MPI",
    "mpiexec": "MPI", "hydra_pmi_proxy": "Hydra (MPICH, Intel MPI)", "palsd": "PALS",
}  # fmt: skip

# Apptainer sets these in every container, also with --cleanenv. Outside, who unsets a launcher's variables means it.
_CONTAINER = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")

_MOST_PARENTS = 64


def checked_place(environ: Mapping[str, str] = os.environ) -> Place:
    """Find this process's place as `detect_place` does, but where a container hides the launcher.

    Ranks: any may call; reads a few files of /proc, does not block.

    Raises:
        LaunchError: as `detect_place`, and where a launcher is seen of which no variable is left.
    """
    found = detect_place(environ)
    if (
        found.launcher == "single"
        and not is_forced_single(environ)
        and (launcher := launcher_outside_container(environ))
    ):
        raise LaunchError(
            f"the launcher's variables are incomplete: none is left of those of {launcher}, which started this"
            " process, so its rank is unknown. A container hides them: pass them on (apptainer exec without"
            f" --cleanenv and --containall). If this process trains by itself, set {STRATEGY_VARIABLE}=single inside"
            f" (apptainer exec --env {STRATEGY_VARIABLE}=single)"
        )
    return found


def launcher_outside_container(environ: Mapping[str, str] = os.environ, proc: Path = Path("/proc")) -> str | None:
    """Name the launcher that started this process; None where none is seen, or a person at a terminal.

    Only to be asked where the environment tells of no launcher. A container with process ids of its own
    (``--containall``, ``--pid``, docker) hides the parents too: then the control group alone tells.

    Ranks: any may call; reads a few files of /proc, does not block.
    """
    if not any(environ.get(name) for name in _CONTAINER):
        return None
    for look in (_starter_among_parents, _step_of_group):
        with contextlib.suppress(OSError, IndexError, ValueError):  # a /proc that hides other processes
            found = look(proc)
            if found is not None:
                return None if found.startswith("Slurm") and _at_terminal(proc) else found
    return None


def _at_terminal(proc: Path) -> bool:
    """Whether a person may sit here: the shell of ``srun --pty`` is one by itself; other steps have none."""
    return _stat(proc / "self")[4] != "0"


def _stat(folder: Path) -> list[str]:
    """State, parent, group, session, terminal …: what follows the name, which may contain anything."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()


def _parents(proc: Path) -> Iterator[Path]:
    folder = proc / "self"
    for _ in range(_MOST_PARENTS):
        parent = _stat(folder)[1]
        if parent in ("0", "1"):
            return
        folder = proc / parent
        yield folder


def _starter_among_parents(proc: Path) -> str | None:
    return next(filter(None, map(_starter, _parents(proc))), None)


def _starter(folder: Path) -> str | None:
    name = (folder / "comm").read_text(errors="replace").strip()
    if name == "slurmstepd":
        step = _STEP.match((folder / "cmdline").read_text(errors="replace"))
        return f"Slurm, step {step['step']}" if step else None
    return _STARTERS.get(name)


def _step_of_group(proc: Path) -> str | None:
    group = _GROUP.search((proc / "self" / "cgroup").read_text(errors="replace"))
    return f"Slurm, step {group['job']}.{group['step']}" if group else None
