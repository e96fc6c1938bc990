"""Detect a launcher whose variables are hidden by a container.

Under ``srun … apptainer exec --cleanenv`` no Slurm variable is left, so every task would take itself for rank 0 of 1.
Two traces of the launcher remain. One is the names of the parent processes, which Apptainer does not hide
(``slurmstepd: [17.0]`` is step 0 of job 17). The other is the control group, if Slurm makes one. Only reads /proc.
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

# Batch scripts, interactive and extern steps have a word instead of the number; they have no rank to hide.
_STEP = re.compile(r"slurmstepd: \[(?P<step>[0-9+_]+\.[0-9]+)(\]|\0)")  # the end may be truncated
_GROUP = re.compile(r"/job_(?P<job>[0-9]+)/step_(?P<step>[0-9]+)(/|$)", re.MULTILINE)

# Programs that start ranks, by the name that the kernel keeps (15 characters at most).
_STARTERS = {
    "prterun": "Open MPI", "prted": "Open MPI", "orterun": "Open MPI", "orted": "Open MPI", "mpirun": "MPI",
    "mpiexec": "MPI", "hydra_pmi_proxy": "Hydra (MPICH, Intel MPI)", "palsd": "PALS",
}  # fmt: skip

# Apptainer sets these in every container, even with --cleanenv. Outside a container, unset variables are intended.
_CONTAINER = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")

_MOST_PARENTS = 64


def checked_place(environ: Mapping[str, str] = os.environ) -> Place:
    """Detect this process's place like `detect_place`, but refuse to guess if a container hides the launcher.

    Ranks: any may call. Reads a few files of /proc, does not block.

    Raises:
        LaunchError: see `detect_place`; also if a launcher started this process but none of its variables is set.
    """
    found = detect_place(environ)
    if found.launcher != "single" or is_forced_single(environ):
        return found
    launcher = launcher_outside_container(environ)
    if launcher is not None:
        raise LaunchError(
            f"the launcher's variables are incomplete: {launcher} started this process, but none of its variables is"
            " set, so the rank is unknown. The container hides them: pass them on (apptainer exec without --cleanenv"
            f" and --containall). If this process trains by itself, set {STRATEGY_VARIABLE}=single inside the"
            f" container (apptainer exec --env {STRATEGY_VARIABLE}=single)"
        )
    return found


def launcher_outside_container(environ: Mapping[str, str] = os.environ, proc: Path = Path("/proc")) -> str | None:
    """Name the launcher that started this process from outside its container.

    None if there is no sign of one, if a person works at a terminal, or outside a container. Call this only if the
    environment shows no launcher. A container with its own process ids (``--containall``, ``--pid``, docker) also hides
    the parents; then only the control group can show the launcher.

    Ranks: any may call. Reads a few files of /proc, does not block.
    """
    if not any(environ.get(name) for name in _CONTAINER):
        return None
    for look in (_starter_among_parents, _step_of_group):
        with contextlib.suppress(OSError, IndexError, ValueError):  # /proc may hide other processes
            found = look(proc)
            if found is not None:
                return None if found.startswith("Slurm") and _at_terminal(proc) else found
    return None


def _at_terminal(proc: Path) -> bool:
    """Return whether this process has a terminal. Only ``srun --pty`` gives one, and its shell is a single process."""
    return _stat(proc / "self")[4] != "0"


def _stat(folder: Path) -> list[str]:
    """Return the fields after the process name: state, parent, group, session, terminal and others."""
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
