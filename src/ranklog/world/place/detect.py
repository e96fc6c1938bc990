"""Detect a process's place in its job from the launcher's environment variables. Pure.

In: a mapping of environment variables. Out: a `Place`. The rows of `LAUNCHERS` are tried in order, innermost launcher
first. The first row whose variables are complete decides alone: rank, world size and node facts never come from two
rows. Incomplete variables (a world size without a rank, or the reverse) raise a `LaunchError` that names the missing
ones; they never mean rank 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ranklog.model.errors import LaunchError
from ranklog.model.place import Place
from ranklog.world.place.launchers import LAUNCHERS, Environ, Launcher, first_number, is_set, number

STRATEGY_VARIABLE = "RANKLOG_STRATEGY"

_TASK_RUN = re.compile(r"(?P<tasks>[1-9][0-9]{0,9})(\(x(?P<nodes>[1-9][0-9]{0,9})\))?")


def detect_place(environ: Environ) -> Place:
    """Detect this process's place from environment variables alone.

    ``RANKLOG_STRATEGY=single`` makes it rank 0 of 1. Otherwise the first complete row of `LAUNCHERS` decides. Without
    launcher variables it is a single process: rank 0 of 1.

    Ranks: any may call; does not block, does not communicate.

    Raises:
        LaunchError: variables are missing, are not whole numbers, or contradict each other.

    Example:
        >>> print(detect_place({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}))
        rank 5/8 (torchrun)
        >>> print(detect_place({}))
        rank 0/1 (single)
    """
    alone = Place(job_id=_job_id(environ), attempt=_attempt(environ))
    if is_forced_single(environ):
        return alone
    launcher = _deciding_launcher(environ)
    if launcher is not None:
        return _place_in(launcher, environ, alone)
    incomplete = list(dict.fromkeys(_incomplete_launchers(environ)))
    if incomplete:
        raise LaunchError(
            f"the launcher's variables are incomplete: {'; '.join(incomplete)}. A container or cleaned environment may"
            " hide them: pass on the missing ones (apptainer exec without --cleanenv or with --env NAME=VALUE,"
            " docker run -e NAME), or all variables of the launcher that started this process. If this process"
            f" trains by itself, set {STRATEGY_VARIABLE}=single"
        )
    return alone


def is_forced_single(environ: Environ) -> bool:
    """Return whether the user declared this a single process, regardless of the launcher."""
    return environ.get(STRATEGY_VARIABLE, "").strip() == "single"


def unjoined_tasks_warning(environ: Environ) -> str | None:
    """Return a warning about several tasks without a process group; None if it does not apply.

    ``srun -n 4`` and ``mpirun -n 4`` start one training with four ranks, or four trainings: their variables do not
    show which. The warning does not apply to one task, nor to a launcher that always joins its processes (torchrun,
    Horovod).

    Ranks: any may call; does not block.

    Example:
        >>> step = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}
        >>> print(unjoined_tasks_warning(step)[:53])
        4 tasks started by slurm log without a process group:
        >>> unjoined_tasks_warning({**step, "RANKLOG_STRATEGY": "single"})
    """
    place = detect_place(environ)
    if place.world_size == 1 or any(row.joins_processes for row in LAUNCHERS if row.name == place.launcher):
        return None
    return (
        f"{place.world_size} tasks started by {place.launcher} log without a process group: ranklog treats them as the"
        f" ranks of one training, this one as rank {place.rank}, and only rank 0 writes. If they are independent"
        f" trainings, set {STRATEGY_VARIABLE}=single, so that each writes its own run. If they train together,"
        " initialise the process group before the first record"
    )


def tasks_on_node(notation: str, node: int) -> int:
    """Read the number of tasks on a node from Slurm's notation for tasks per node.

    Raises:
        LaunchError: the notation cannot be read or has no such node.

    Example:
        >>> [tasks_on_node("4(x2),3", node) for node in range(3)]
        [4, 4, 3]
    """
    seen = 0
    for text in notation.split(","):
        run = _TASK_RUN.fullmatch(text.strip())
        if run is None:
            raise LaunchError(f"tasks per node {notation!r} cannot be read: expected a list like '4(x2),3'")
        seen += int(run["nodes"] or 1)
        if node < seen:
            return int(run["tasks"])
    raise LaunchError(f"tasks per node {notation!r} list {seen} nodes, but this is node {node} (counted from 0)")


def _deciding_launcher(environ: Environ) -> Launcher | None:
    for launcher in LAUNCHERS:
        complete = launcher.world_size is not None and all(is_set(environ, name) for name in launcher.required)
        if complete and launcher.applies(environ):
            return launcher
    return None


def _incomplete_launchers(environ: Environ) -> Iterator[str]:
    """Describe the missing variables of each launcher that has set more than a single process would have."""
    for launcher in LAUNCHERS:
        missing = [name for name in launcher.required if not is_set(environ, name)]
        if launcher.world_size is None:
            missing.append("a world size, which this launcher does not set")
        if not missing or not launcher.applies(environ):
            continue
        rank = number(environ, launcher.rank)
        size = number(environ, launcher.world_size) if launcher.world_size else None
        local_rank = first_number(environ, launcher.local_rank)
        # People export LOCAL_RANK=0 or WORLD_SIZE=1 alone to debug one process.
        if (size or 1) > 1 or rank or local_rank or (rank is not None and size is None):
            names = (launcher.rank, launcher.world_size or "", *launcher.local_rank)
            yield f"{_given(environ, names)} without {', '.join(missing)}"


def _place_in(launcher: Launcher, environ: Environ, alone: Place) -> Place:
    """Build the place from one launcher's variables; derive what it does not set from what it does.

    Assumes that nodes hold equally many ranks, in blocks (0 1 2 3, 4 5 6 7). A launcher without node variables is
    assumed to run on one node.
    """
    rank = number(environ, launcher.rank) or 0
    size = number(environ, launcher.world_size or "") or 0
    _check(rank < size, launcher, environ, f"rank {rank} is not below the world size {size}")
    local_rank = first_number(environ, launcher.local_rank)
    local_size = _local_size(launcher, environ)
    node_rank = first_number(environ, launcher.node_rank)
    node_count = first_number(environ, launcher.node_count)
    _check(node_count != 0, launcher, environ, "there are 0 nodes")

    if local_size is None:
        local_size = max(-(-size // (node_count or 1)), (local_rank or 0) + 1)
    _check(0 < local_size <= size, launcher, environ, f"{local_size} ranks on this node, {size} in all")
    if local_rank is None:
        local_rank = rank % local_size
    _check(local_rank < local_size, launcher, environ, f"local rank {local_rank}, {local_size} on this node")
    if node_count is None:
        node_count = max(-(-size // local_size), (node_rank or 0) + 1)
    if node_rank is None:
        node_rank = min(rank // local_size, node_count - 1)
    _check(node_rank < node_count, launcher, environ, f"node {node_rank} is not below the {node_count} nodes")
    return Place(
        rank=rank,
        world_size=size,
        local_rank=local_rank,
        local_world_size=local_size,
        node_rank=node_rank,
        node_count=node_count,
        launcher=launcher.name,
        job_id=alone.job_id,
        attempt=alone.attempt,
    )


def _local_size(launcher: Launcher, environ: Environ) -> int | None:
    node_rank = first_number(environ, launcher.node_rank)
    if launcher.tasks_per_node is not None and is_set(environ, launcher.tasks_per_node) and node_rank is not None:
        return tasks_on_node(environ[launcher.tasks_per_node], node_rank)
    return first_number(environ, launcher.local_world_size)


def _check(holds: bool, launcher: Launcher, environ: Environ, trouble: str) -> None:
    if holds:
        return
    facts = (*launcher.local_rank, *launcher.local_world_size, *launcher.node_rank, *launcher.node_count)
    given = _given(environ, (*launcher.required, *facts, launcher.tasks_per_node or ""))
    raise LaunchError(
        f"{launcher.name}'s variables contradict each other: {trouble}. Given: {given}. If a job script, container"
        " or shell sets one of them by hand, unset it. If this process trains by itself, set"
        f" {STRATEGY_VARIABLE}=single"
    )


def _given(environ: Environ, names: tuple[str, ...]) -> str:
    return " ".join(f"{name}={environ[name].strip()}" for name in dict.fromkeys(names) if is_set(environ, name))


def _job_id(environ: Environ) -> str | None:
    """Return the scheduler's job id. The jobs of an LSF array share one id and differ by index."""
    for name in ("SLURM_JOB_ID", "SLURM_JOBID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"):
        if is_set(environ, name):
            index = environ.get("LSB_JOBINDEX", "").strip() if name == "LSB_JOBID" else ""
            return environ[name].strip() + (f"[{index}]" if index not in ("", "0") else "")
    return None


def _attempt(environ: Environ) -> int:
    """Number the attempts of a job in the order in which they run.

    torchrun counts its restarts from 0 again after a requeue. A requeue therefore counts more than all restarts that
    torchrun may make, so a later attempt always has the higher number.
    """
    requeues = number(environ, "SLURM_RESTART_COUNT") or 0
    restarts = number(environ, "TORCHELASTIC_RESTART_COUNT") or 0
    most = max(number(environ, "TORCHELASTIC_MAX_RESTARTS") or 0, restarts)
    return requeues * (most + 1) + restarts


def disagreeing_launchers(environ: Environ) -> list[str]:
    """Describe launchers whose complete variables did not decide and give another rank or world size.

    This is normal for torchrun in a Slurm step, because Slurm started each torchrun.

    Example:
        >>> torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
        >>> disagreeing_launchers({**torchrun, "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "0"})
        ['slurm says rank 1/2 (SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_ID=0)']
    """
    decided = _deciding_launcher(environ)
    found = []
    for launcher in LAUNCHERS:
        if launcher is decided or launcher.world_size is None or not launcher.applies(environ):
            continue
        if not all(is_set(environ, name) for name in launcher.required):
            continue
        own = (number(environ, launcher.rank), number(environ, launcher.world_size))
        deciding = decided and (number(environ, decided.rank), number(environ, decided.world_size or ""))
        if own != deciding:
            given = _given(environ, launcher.required)
            found.append(f"{launcher.name} says rank {own[0]}/{own[1]} ({given})")
    return found
