"""The table of launchers: the environment variables from which each one's rank and world size are read.

Pure data, and pure functions on a mapping of environment variables. A new launcher is one row of `LAUNCHERS`. The
order matters: a launcher comes before the one that started it (torchrun before Slurm).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from ranklog.model.errors import LaunchError

Environ = Mapping[str, str]

# Slurm numbers real steps from 0. Batch scripts, interactive steps and extern steps have numbers from here on.
_FIRST_PSEUDO_STEP = 0xFFFFFFF0

_WHOLE_NUMBER = re.compile(r"[0-9]{1,10}")


def is_set(environ: Environ, name: str) -> bool:
    """Return whether a variable is set and not empty. ``export RANK=$NOT_SET`` leaves an empty one behind."""
    return bool(environ.get(name, "").strip())


def number(environ: Environ, name: str) -> int | None:
    """Read a whole number; None if the variable is not set.

    Raises:
        LaunchError: the value is not a whole number of 0 or above.
    """
    if not is_set(environ, name):
        return None
    value = environ[name].strip()
    if _WHOLE_NUMBER.fullmatch(value) is None:
        raise LaunchError(
            f"{name}={value!r} is not a whole number of 0 or above: unset the variable, or let the launcher set it"
        )
    return int(value)


def first_number(environ: Environ, names: tuple[str, ...]) -> int | None:
    """Read the first of several variables that is set; None if none is."""
    return next((found for name in names if (found := number(environ, name)) is not None), None)


def _always(environ: Environ) -> bool:
    del environ
    return True


def _at_terminal(environ: Environ) -> bool:
    """Return whether this is task 0 of ``srun --pty``, whose shell inherits variables but is a single process."""
    return is_set(environ, "SLURM_PTY_PORT") and number(environ, "SLURM_PROCID") == 0


def _in_slurm_step(environ: Environ) -> bool:
    """Return whether a Slurm step set the variables. The body of a batch script has SLURM_PROCID=0 but no step."""
    step = number(environ, "SLURM_STEP_ID")
    if step is None:
        return number(environ, "SLURM_PROCID") != 0
    return step < _FIRST_PSEUDO_STEP and not _at_terminal(environ)


def _outside_slurm_step(environ: Environ) -> bool:
    """Return whether no Slurm step is active. In a step Slurm's row decides, though its PMIx plugin sets PMIX_RANK."""
    return not is_set(environ, "SLURM_STEP_ID")


def _hydra_started(environ: Environ) -> bool:
    """Return whether Hydra set the variables. Slurm's pmi2 plugin and Flux set PMI_RANK but not MPI_LOCALRANKID."""
    return is_set(environ, "MPI_LOCALRANKID")


def _pals_started(environ: Environ) -> bool:
    """Return whether PALS set the variables. Under srun, Cray's plugin sets PALS_RANKID."""
    return is_set(environ, "PALS_RANKID") and _outside_slurm_step(environ)


def _lightning_started(environ: Environ) -> bool:
    """Return whether Lightning started this process outside Slurm, on node 0; elsewhere its rank is unknown."""
    if not (is_set(environ, "LOCAL_RANK") and is_set(environ, "WORLD_SIZE")):
        return False
    return number(environ, "NODE_RANK") == 0 and (number(environ, "SLURM_STEP_NUM_TASKS") or 1) == 1


def _bare_pmi_started(environ: Environ) -> bool:
    return not _at_terminal(environ)


class Launcher(msgspec.Struct, frozen=True, kw_only=True):
    """One launcher: the names of the variables that it sets.

    Attributes:
        name: Name of the launcher, as in `Place.launcher`.
        rank: Variable of the global rank.
        world_size: Variable of the number of processes. None if the launcher does not set one; such a row never
            decides and only reports what is missing.
        needs: Further variables that must be set for this launcher to be recognised.
        local_rank: Variables of the rank on this node; the first one that is set counts, here and in the next three.
        local_world_size: Variables of the number of ranks on this node.
        node_rank: Variables of this node's index.
        node_count: Variables of the number of nodes.
        tasks_per_node: Variable of the number of ranks on each node, in the notation ``4(x2),3``.
        joins_processes: Whether this launcher is only used for processes that train together.
        applies: Whether the variables describe this process; see the functions above.
    """

    name: str
    rank: str
    world_size: str | None
    needs: tuple[str, ...] = ()
    local_rank: tuple[str, ...] = ()
    local_world_size: tuple[str, ...] = ()
    node_rank: tuple[str, ...] = ()
    node_count: tuple[str, ...] = ()
    tasks_per_node: str | None = None
    joins_processes: bool = False
    applies: Callable[[Environ], bool] = _always

    @property
    def required(self) -> tuple[str, ...]:
        """Variables that must all be set for this row to decide."""
        return (self.rank, *((self.world_size,) if self.world_size else ()), *self.needs)


LAUNCHERS: tuple[Launcher, ...] = (
    Launcher(
        name="torchrun",
        rank="RANK",
        world_size="WORLD_SIZE",
        local_rank=("LOCAL_RANK",),
        local_world_size=("LOCAL_WORLD_SIZE",),
        node_rank=("GROUP_RANK", "NODE_RANK"),
        node_count=("GROUP_WORLD_SIZE",),
        joins_processes=True,
    ),
    Launcher(
        name="horovod",
        rank="HOROVOD_RANK",
        world_size="HOROVOD_SIZE",
        local_rank=("HOROVOD_LOCAL_RANK",),
        local_world_size=("HOROVOD_LOCAL_SIZE",),
        node_rank=("HOROVOD_CROSS_RANK",),
        node_count=("HOROVOD_CROSS_SIZE",),
        joins_processes=True,
    ),
    # OMPI_COMM_WORLD_NODE_RANK is not a node index but the local rank over all jobs on the node.
    Launcher(
        name="openmpi",
        rank="OMPI_COMM_WORLD_RANK",
        world_size="OMPI_COMM_WORLD_SIZE",
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK",),
        local_world_size=("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    Launcher(
        name="mvapich",
        rank="MV2_COMM_WORLD_RANK",
        world_size="MV2_COMM_WORLD_SIZE",
        local_rank=("MV2_COMM_WORLD_LOCAL_RANK",),
        local_world_size=("MV2_COMM_WORLD_LOCAL_SIZE",),
    ),
    Launcher(
        name="hydra",
        rank="PMI_RANK",
        world_size="PMI_SIZE",
        local_rank=("MPI_LOCALRANKID",),
        local_world_size=("MPI_LOCALNRANKS",),
        applies=_hydra_started,
    ),
    # PALS has no variable of its own for the world size; it sets PMI_SIZE.
    Launcher(
        name="pals",
        rank="PALS_RANKID",
        world_size="PMI_SIZE",
        local_rank=("PALS_LOCAL_RANKID", "PMI_LOCAL_RANK"),
        local_world_size=("PALS_LOCAL_SIZE", "PMI_LOCAL_SIZE"),
        node_rank=("PALS_NODEID",),
        applies=_pals_started,
    ),
    Launcher(
        name="flux",
        rank="FLUX_TASK_RANK",
        world_size="FLUX_JOB_SIZE",
        local_rank=("FLUX_TASK_LOCAL_ID",),
        node_count=("FLUX_JOB_NNODES",),
    ),
    Launcher(
        name="jsrun",
        rank="JSM_NAMESPACE_RANK",
        world_size="JSM_NAMESPACE_SIZE",
        local_rank=("JSM_NAMESPACE_LOCAL_RANK",),
        local_world_size=("JSM_NAMESPACE_LOCAL_SIZE",),
    ),
    Launcher(name="pmix", rank="PMIX_RANK", world_size=None, applies=_outside_slurm_step),
    Launcher(
        name="lightning",
        rank="LOCAL_RANK",
        world_size="WORLD_SIZE",
        local_rank=("LOCAL_RANK",),
        node_rank=("NODE_RANK",),
        joins_processes=True,
        applies=_lightning_started,
    ),
    Launcher(
        name="slurm",
        rank="SLURM_PROCID",
        world_size="SLURM_STEP_NUM_TASKS",
        needs=("SLURM_STEP_ID",),
        local_rank=("SLURM_LOCALID",),
        node_rank=("SLURM_NODEID",),
        node_count=("SLURM_STEP_NUM_NODES",),
        tasks_per_node="SLURM_STEP_TASKS_PER_NODE",
        applies=_in_slurm_step,
    ),
    # A process manager that only sets the variables of the PMI protocol, for example ParaStation's mpiexec.
    Launcher(
        name="pmi",
        rank="PMI_RANK",
        world_size="PMI_SIZE",
        local_rank=("PMI_LOCAL_RANK",),
        local_world_size=("PMI_LOCAL_SIZE",),
        applies=_bare_pmi_started,
    ),
)
