"""Environments as launchers leave them, each with the place that must be found or the error that must be raised.

A name is a sentence about what is running. Variables that play no part in the decision are kept where they are
part of the picture: they are the ones that mislead.
"""

from __future__ import annotations

import msgspec

from ranklog.model.place import Place


class Found(msgspec.Struct, frozen=True):
    """An environment and the place it means."""

    name: str
    environ: dict[str, str]
    place: Place


class Refused(msgspec.Struct, frozen=True):
    """An environment that means no place, and what the error must say."""

    name: str
    environ: dict[str, str]
    says: tuple[str, ...]


def env(text: str) -> dict[str, str]:
    """Read ``NAME=value`` words."""
    return dict(word.split("=", 1) for word in text.split())


def at(
    rank: int, world: int, local: str, node: str, launcher: str, job_id: str | None = None, attempt: int = 0
) -> Place:
    """Write a place as ``at(5, 8, "1/4", "1/2", "torchrun")``."""
    local_facts = dict(zip(("local_rank", "local_world_size"), map(int, local.split("/")), strict=True))
    node_facts = dict(zip(("node_rank", "node_count"), map(int, node.split("/")), strict=True))
    job = {"launcher": launcher, "job_id": job_id, "attempt": attempt}
    return msgspec.convert({"rank": rank, "world_size": world, **local_facts, **node_facts, **job}, Place)


def alone(job_id: str | None = None, attempt: int = 0) -> Place:
    return Place(job_id=job_id, attempt=attempt)


TORCHRUN = env(
    "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 GROUP_RANK=1 GROUP_WORLD_SIZE=2 ROLE_RANK=5 ROLE_NAME=default"
    " ROLE_WORLD_SIZE=8 MASTER_ADDR=node01 MASTER_PORT=29500 TORCHELASTIC_RESTART_COUNT=0 TORCHELASTIC_MAX_RESTARTS=3"
    " TORCHELASTIC_RUN_ID=train TORCHELASTIC_USE_AGENT_STORE=True OMP_NUM_THREADS=1"
)
SLURM_JOB = env(
    "SLURM_JOB_ID=4242 SLURM_JOBID=4242 SLURM_JOB_NAME=train SLURM_JOB_NODELIST=node[01-02] SLURM_JOB_NUM_NODES=2"
    " SLURM_NNODES=2 SLURM_NTASKS=8 SLURM_NPROCS=8 SLURM_NTASKS_PER_NODE=4 SLURM_TASKS_PER_NODE=4(x2)"
    " SLURM_JOB_CPUS_PER_NODE=64(x2) SLURM_CLUSTER_NAME=cluster SLURM_SUBMIT_HOST=login1"
)
SBATCH_BODY = {**SLURM_JOB, **env("SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_GTIDS=0 SLURMD_NODENAME=node01")}
SLURM_STEP = {
    **SLURM_JOB,
    **env(
        "SLURM_STEP_ID=0 SLURM_STEPID=0 SLURM_STEP_NUM_TASKS=8 SLURM_STEP_NUM_NODES=2 SLURM_STEP_TASKS_PER_NODE=4(x2)"
        " SLURM_STEP_NODELIST=node[01-02] SLURM_PROCID=6 SLURM_LOCALID=2 SLURM_NODEID=1 SLURM_GTIDS=4,5,6,7"
        " SLURM_MPI_TYPE=pmix PMIX_RANK=6 PMIX_NAMESPACE=slurm.pmix.4242.0 SLURMD_NODENAME=node02"
    ),
}
# One task a node, as a launcher that starts its own processes needs it (torchrun, orted, Hydra's proxies, Ray).
STARTER_STEP = {
    **SLURM_STEP,
    **env(
        "SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=1(x2) SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_NODEID=1"
        " SLURM_GTIDS=1 PMIX_RANK=1"
    ),
}
OPENMPI = env(
    "OMPI_COMM_WORLD_RANK=5 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=4"
    " OMPI_COMM_WORLD_NODE_RANK=1 OMPI_UNIVERSE_SIZE=8 OMPI_MCA_orte_ess_num_procs=8 PMIX_RANK=5 PMIX_NAMESPACE=981"
)
HYDRA = env(
    "PMI_RANK=5 PMI_SIZE=8 PMI_FD=9 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=4 GFORTRAN_UNBUFFERED_PRECONNECTED=y"
    " I_MPI_INFO_NUMA_NODE_NUM=2"
)
PALS = env(
    "PALS_RANKID=5 PALS_LOCAL_RANKID=1 PALS_LOCAL_SIZE=4 PALS_NODEID=1 PALS_APID=a1b2 PALS_DEPTH=1 PMI_RANK=5"
    " PMI_SIZE=8 PMI_LOCAL_RANK=1 PMI_LOCAL_SIZE=4 PMI_UNIVERSE_SIZE=8 PBS_JOBID=777.polaris-pbs-01"
)
FLUX = env(
    "FLUX_TASK_RANK=5 FLUX_JOB_SIZE=8 FLUX_TASK_LOCAL_ID=1 FLUX_JOB_NNODES=2 FLUX_JOB_ID=f2Aq7 PMI_RANK=5 PMI_SIZE=8"
    " PMI_FD=12 FLUX_URI=local:///run/flux/local"
)
JSRUN = env(
    "JSM_NAMESPACE_RANK=5 JSM_NAMESPACE_SIZE=8 JSM_NAMESPACE_LOCAL_RANK=1 JSM_NAMESPACE_LOCAL_SIZE=4"
    " JSM_JSRUN_NO_WARN_OVERSUBSCRIBE=1 LSB_JOBID=31337 LSB_JOBINDEX=0"
)
HOROVOD = env(
    "HOROVOD_RANK=5 HOROVOD_SIZE=8 HOROVOD_LOCAL_RANK=1 HOROVOD_LOCAL_SIZE=4 HOROVOD_CROSS_RANK=1 HOROVOD_CROSS_SIZE=2"
    " HOROVOD_CONTROLLER=gloo HOROVOD_CPU_OPERATIONS=gloo HOROVOD_HOSTNAME=node02 HOROVOD_GLOO_RENDEZVOUS_PORT=40000"
)
PTY = env("SLURM_PTY_PORT=34889 SLURM_PTY_WIN_COL=236 SLURM_PTY_WIN_ROW=64")
ONE_TASK_STEP = {
    **SLURM_STEP,
    **env("SLURM_STEP_NUM_TASKS=1 SLURM_STEP_NUM_NODES=1 SLURM_STEP_TASKS_PER_NODE=1"),
    **env("SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_GTIDS=0 PMIX_RANK=0"),
}
# What `salloc` gives where the cluster opens the shell in an interactive step on the first node.
INTERACTIVE_STEP = {**ONE_TASK_STEP, **PTY, **env("SLURM_STEP_ID=4294967290 SLURM_STEPID=4294967290")}
ENROOT = env("RANK=6 WORLD_SIZE=8 LOCAL_RANK=2 MASTER_ADDR=node01 MASTER_PORT=29500")
RAY_TRAIN = env(
    "RANK=1 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 NODE_RANK=1 MASTER_ADDR=10.0.0.1 RAY_JOB_ID=01000000"
)
LIGHTNING = env("LOCAL_RANK=1 NODE_RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=12910")

FOUND: tuple[Found, ...] = (
    # by itself
    Found("a python started by hand on a laptop is by itself", env("HOME=/root PATH=/usr/bin"), alone()),
    Found("a notebook that left empty launcher variables is by itself", {"RANK": "", "WORLD_SIZE": " "}, alone()),
    Found("LOCAL_RANK=0 alone, as debuggers set it, is one process", env("LOCAL_RANK=0"), alone()),
    Found("WORLD_SIZE=1 alone is one process", env("WORLD_SIZE=1"), alone()),
    Found("MASTER_ADDR and MASTER_PORT alone say nothing", env("MASTER_ADDR=node01 MASTER_PORT=29500"), alone()),
    # torchrun and what sets the same variables
    Found("torchrun on two nodes", TORCHRUN, at(5, 8, "1/4", "1/2", "torchrun")),
    Found("torchrun with one process", env("RANK=0 WORLD_SIZE=1 LOCAL_RANK=0"), at(0, 1, "0/1", "0/1", "torchrun")),
    Found(
        "torchrun on two nodes with different numbers of processes",
        {**TORCHRUN, **env("RANK=4 WORLD_SIZE=6 LOCAL_RANK=0 LOCAL_WORLD_SIZE=2")},
        at(4, 6, "0/2", "1/2", "torchrun"),
    ),
    Found(
        "torchrun started by srun, one task a node, is torchrun's rank and not srun's",
        {**STARTER_STEP, **TORCHRUN},
        at(5, 8, "1/4", "1/2", "torchrun", "4242"),
    ),
    Found(
        "torchrun in the body of a batch script",
        {**SBATCH_BODY, **TORCHRUN},
        at(5, 8, "1/4", "1/2", "torchrun", "4242"),
    ),
    Found("torchrun started by mpirun", {**OPENMPI, **TORCHRUN}, at(5, 8, "1/4", "1/2", "torchrun")),
    Found(
        "torchrun on its second restart",
        {**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"},
        at(5, 8, "1/4", "1/2", "torchrun", attempt=2),
    ),
    Found(
        "torchrun in a requeued job that had all three restarts before",
        {**STARTER_STEP, **TORCHRUN, "SLURM_RESTART_COUNT": "1"},
        at(5, 8, "1/4", "1/2", "torchrun", "4242", attempt=4),
    ),
    Found(
        "enroot's hook in a Slurm step sets torch's variables and no node facts",
        {**SLURM_STEP, **ENROOT},
        at(6, 8, "2/8", "0/1", "torchrun", "4242"),
    ),
    Found(
        "Kubeflow's PyTorchJob sets rank and world size for each pod",
        env("RANK=2 WORLD_SIZE=3 MASTER_ADDR=job-master-0 MASTER_PORT=23456 PET_NNODES=3"),
        at(2, 3, "2/3", "0/1", "torchrun"),
    ),
    Found(
        "Ray Train's worker on the second node, Ray started by srun",
        {**STARTER_STEP, **RAY_TRAIN},
        at(1, 2, "0/1", "1/2", "torchrun", "4242"),
    ),
    Found(
        "a Ray Tune trial below a raylet in a one-task step is by itself",
        {**ONE_TASK_STEP, "RAY_JOB_ID": "01000000"},
        at(0, 1, "0/1", "0/1", "slurm", "4242"),
    ),
    Found("the second process that Lightning started itself", LIGHTNING, at(1, 2, "1/2", "0/1", "lightning")),
    Found(
        "the second process that Lightning started itself in an interactive step",
        {**INTERACTIVE_STEP, **LIGHTNING},
        at(1, 2, "1/2", "0/1", "lightning", "4242"),
    ),
    Found(
        "a job script's exported NODE_RANK=0 and LOCAL_RANK=0 do not make every task of a step rank 0",
        {**SLURM_STEP, **env("WORLD_SIZE=8 NODE_RANK=0 LOCAL_RANK=0 MASTER_ADDR=node01")},
        at(6, 8, "2/4", "1/2", "slurm", "4242"),
    ),
    # Horovod
    Found("horovodrun with gloo on two nodes", HOROVOD, at(5, 8, "1/4", "1/2", "horovod")),
    Found("horovodrun inside a Slurm job", {**SBATCH_BODY, **HOROVOD}, at(5, 8, "1/4", "1/2", "horovod", "4242")),
    Found(
        "Horovod under mpirun has only Open MPI's ranks",
        {**OPENMPI, **env("HOROVOD_FUSION_THRESHOLD=67108864 HOROVOD_CYCLE_TIME=5")},
        at(5, 8, "1/4", "1/2", "openmpi"),
    ),
    # MPI
    Found("mpirun of Open MPI on two nodes", OPENMPI, at(5, 8, "1/4", "1/2", "openmpi")),
    Found(
        "mpirun in a batch script, whose daemons srun started",
        {**STARTER_STEP, **OPENMPI},
        at(5, 8, "1/4", "1/2", "openmpi", "4242"),
    ),
    Found(
        "mpirun_rsh of MVAPICH2",
        env("MV2_COMM_WORLD_RANK=3 MV2_COMM_WORLD_SIZE=4 MV2_COMM_WORLD_LOCAL_RANK=1 MV2_COMM_WORLD_LOCAL_SIZE=2"),
        at(3, 4, "1/2", "1/2", "mvapich"),
    ),
    Found("mpirun of Intel MPI on two nodes", HYDRA, at(5, 8, "1/4", "1/2", "hydra")),
    Found(
        "mpiexec of MPICH in a batch script, whose proxies srun started",
        {**STARTER_STEP, **HYDRA},
        at(5, 8, "1/4", "1/2", "hydra", "4242"),
    ),
    Found("mpiexec of Cray PALS under PBS", PALS, at(5, 8, "1/4", "1/2", "pals", "777.polaris-pbs-01")),
    Found(
        "srun on a Cray, whose plugin sets PALS variables without a size",
        {**SLURM_STEP, **env("PALS_RANKID=6 PALS_NODEID=1 PALS_APID=4242.0 PALS_SPOOL_DIR=/var/spool")},
        at(6, 8, "2/4", "1/2", "slurm", "4242"),
    ),
    Found("flux run on two nodes", FLUX, at(5, 8, "1/4", "1/2", "flux", "f2Aq7")),
    Found(
        "flux run with five tasks on two nodes, four of them on the first",
        {**FLUX, **env("FLUX_TASK_RANK=3 FLUX_JOB_SIZE=5 FLUX_TASK_LOCAL_ID=3")},
        at(3, 5, "3/4", "0/2", "flux", "f2Aq7"),
    ),
    Found("jsrun under LSF", JSRUN, at(5, 8, "1/4", "1/2", "jsrun", "31337")),
    Found(
        "jsrun of an element of an LSF array",
        {**JSRUN, "LSB_JOBINDEX": "7"},
        at(5, 8, "1/4", "1/2", "jsrun", "31337[7]"),
    ),
    Found(
        "jsrun with Spectrum MPI sets Open MPI's variables too",
        {**JSRUN, **OPENMPI},
        at(5, 8, "1/4", "1/2", "openmpi", "31337"),
    ),
    Found(
        "mpiexec of ParaStation in a batch script shows bare PMI",
        {**SBATCH_BODY, **env("PMI_RANK=5 PMI_SIZE=8 PMI_PORT=node01:4000")},
        at(5, 8, "5/8", "0/1", "pmi", "4242"),
    ),
    # Slurm
    Found("srun with four tasks on each of two nodes", SLURM_STEP, at(6, 8, "2/4", "1/2", "slurm", "4242")),
    Found(
        "srun with pmi2 as the cluster's default keeps Slurm's node facts",
        {**SLURM_STEP, **env("PMI_RANK=6 PMI_SIZE=8 PMI_FD=12 PMI_JOBID=4242.0 SLURM_MPI_TYPE=pmi2")},
        at(6, 8, "2/4", "1/2", "slurm", "4242"),
    ),
    Found(
        "srun with different numbers of tasks on three nodes",
        {
            **SLURM_STEP,
            **env("SLURM_STEP_NUM_TASKS=11 SLURM_STEP_NUM_NODES=3 SLURM_STEP_TASKS_PER_NODE=4(x2),3"),
            **env("SLURM_PROCID=10 SLURM_LOCALID=2 SLURM_NODEID=2"),
        },
        at(10, 11, "2/3", "2/3", "slurm", "4242"),
    ),
    Found(
        "srun over both components of a heterogeneous job, recorded from Slurm 22.05 and 24.11",
        {
            **SLURM_STEP,
            **env("SLURM_HET_SIZE=2 SLURM_NTASKS=4 SLURM_NTASKS_HET_GROUP_0=1 SLURM_NTASKS_HET_GROUP_1=3"),
            **env("SLURM_STEP_NUM_TASKS=4 SLURM_STEP_NUM_NODES=2 SLURM_STEP_TASKS_PER_NODE=1,3"),
            **env("SLURM_PROCID=3 SLURM_LOCALID=2 SLURM_NODEID=1 SLURM_GTIDS=1,2,3"),
        },
        at(3, 4, "2/3", "1/2", "slurm", "4242"),
    ),
    Found(
        "srun with fewer tasks than the job has",
        {**ONE_TASK_STEP, **env("SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=2 SLURM_PROCID=1 SLURM_LOCALID=1")},
        at(1, 2, "1/2", "0/1", "slurm", "4242"),
    ),
    Found(
        "srun with one task in an array job has the array element's own job id",
        {**ONE_TASK_STEP, **env("SLURM_JOB_ID=4250 SLURM_ARRAY_JOB_ID=4242 SLURM_ARRAY_TASK_ID=8")},
        at(0, 1, "0/1", "0/1", "slurm", "4250"),
    ),
    Found(
        "srun in a job that was requeued twice",
        {**SLURM_STEP, "SLURM_RESTART_COUNT": "2"},
        at(6, 8, "2/4", "1/2", "slurm", "4242", attempt=2),
    ),
    Found(
        "srun that a job script gave WORLD_SIZE and MASTER_ADDR takes rank and size from Slurm",
        {**SLURM_STEP, **env("WORLD_SIZE=8 MASTER_ADDR=node01 MASTER_PORT=29500")},
        at(6, 8, "2/4", "1/2", "slurm", "4242"),
    ),
    Found("the body of a batch script for eight tasks is by itself", SBATCH_BODY, alone("4242")),
    Found(
        "the body of a requeued batch script is by itself, one attempt later",
        {**SBATCH_BODY, "SLURM_RESTART_COUNT": "1"},
        alone("4242", attempt=1),
    ),
    Found("the batch step is by itself", {**SBATCH_BODY, "SLURM_STEP_ID": "4294967291"}, alone("4242")),
    Found("the extern step is by itself", {**SBATCH_BODY, "SLURM_STEP_ID": "4294967292"}, alone("4242")),
    Found(
        "a batch script that exports step variables for TensorFlow's resolver is by itself",
        {**SBATCH_BODY, **env("SLURM_STEP_NUM_TASKS=8 SLURM_STEP_TASKS_PER_NODE=4(x2)")},
        alone("4242"),
    ),
    Found("a shell that salloc opened on the login node is by itself", SLURM_JOB, alone("4242")),
    Found("a shell that salloc opened in an interactive step is by itself", INTERACTIVE_STEP, alone("4242")),
    Found(
        "a shell of srun --pty with one task is rank 0 of 1",
        {**ONE_TASK_STEP, **PTY},
        alone("4242"),
    ),
    Found(
        "a shell of srun --pty that took eight tasks from salloc is by itself",
        {**SLURM_STEP, **PTY, **env("SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 PMIX_RANK=0 PMI_RANK=0 PMI_SIZE=8")},
        alone("4242"),
    ),
    Found(
        "the other tasks of srun --pty python keep their ranks, so that one task writes",
        {**SLURM_STEP, **PTY},
        at(6, 8, "2/4", "1/2", "slurm", "4242"),
    ),
    Found(
        "independent trainings in one step, told so",
        {**SLURM_STEP, "RANKLOG_STRATEGY": "single"},
        alone("4242"),
    ),
    Found(
        "a process told to be by itself ignores even half a launcher",
        env("RANKLOG_STRATEGY=single WORLD_SIZE=8 RANK=x"),
        alone(),
    ),
)

REFUSED: tuple[Refused, ...] = (
    Refused(
        "a container with a clean environment that was passed WORLD_SIZE only",
        env("WORLD_SIZE=4 HOME=/root"),
        ("WORLD_SIZE=4 without RANK", "--cleanenv", "RANKLOG_STRATEGY=single"),
    ),
    Refused(
        "a container that was passed torch's local variables only",
        env("LOCAL_RANK=1 LOCAL_WORLD_SIZE=4"),
        ("LOCAL_RANK=1 without RANK, WORLD_SIZE",),
    ),
    Refused("torchrun's rank without its world size", env("RANK=0"), ("RANK=0 without WORLD_SIZE",)),
    Refused(
        "a Lightning process off the first node, whose rank its variables do not tell",
        env("LOCAL_RANK=1 NODE_RANK=1 WORLD_SIZE=4 MASTER_ADDR=10.0.0.1"),
        ("WORLD_SIZE=4 LOCAL_RANK=1 without RANK",),
    ),
    Refused(
        "a container that was passed Open MPI's size only",
        env("OMPI_COMM_WORLD_SIZE=8"),
        ("OMPI_COMM_WORLD_SIZE=8 without OMPI_COMM_WORLD_RANK",),
    ),
    Refused("a container that was passed Horovod's size only", env("HOROVOD_SIZE=8"), ("without HOROVOD_RANK",)),
    Refused("a container that was passed PMI's size only", env("PMI_SIZE=8"), ("PMI_SIZE=8 without PMI_RANK",)),
    Refused(
        "a container in a Slurm step that was passed the rank only",
        env("SLURM_JOB_ID=4242 SLURM_PROCID=6"),
        ("SLURM_PROCID=6 without SLURM_STEP_NUM_TASKS, SLURM_STEP_ID",),
    ),
    Refused(
        "a container in a Slurm step that was passed the sizes only",
        env("SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=8"),
        ("SLURM_STEP_NUM_TASKS=8 without SLURM_PROCID",),
    ),
    Refused(
        "a container in which only the rank of PMIx is left",
        env("PMIX_RANK=0 PMIX_NAMESPACE=slurm.pmix.4242.0"),
        ("PMIX_RANK=0 without a world size, which this launcher does not set",),
    ),
    Refused(
        "a batch script's body with an exported world size and no srun",
        {**SBATCH_BODY, "WORLD_SIZE": "8"},
        ("WORLD_SIZE=8 without RANK",),
    ),
    Refused(
        "two halves of launchers at once are both named",
        env("WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=1"),
        ("WORLD_SIZE=4 without RANK", "OMPI_COMM_WORLD_RANK=1 without OMPI_COMM_WORLD_SIZE"),
    ),
    Refused("a rank that is no number", env("RANK=zero WORLD_SIZE=4"), ("RANK='zero' is not a whole number",)),
    Refused("a world size with a fraction", env("RANK=0 WORLD_SIZE=4.0"), ("WORLD_SIZE='4.0'",)),
    Refused("a negative rank", env("RANK=-1 WORLD_SIZE=4"), ("RANK='-1' is not a whole number of 0 or above",)),
    Refused("a rank beyond the world", env("RANK=4 WORLD_SIZE=4"), ("rank 4 is not below the world size 4", "RANK=4")),
    Refused("a world of nobody", env("RANK=0 WORLD_SIZE=0"), ("rank 0 is not below the world size 0",)),
    Refused(
        "a local rank beyond the node",
        {**TORCHRUN, "LOCAL_RANK": "4"},
        ("local rank 4, 4 on this node", "LOCAL_WORLD_SIZE=4"),
    ),
    Refused(
        "a node beyond the nodes",
        {**TORCHRUN, "GROUP_RANK": "2"},
        ("node 2 is not below the 2 nodes",),
    ),
    Refused(
        "more ranks on a node than in the world",
        {**TORCHRUN, "LOCAL_WORLD_SIZE": "16"},
        ("16 ranks on this node, 8 in all",),
    ),
    Refused(
        "tasks per node that nobody can read",
        {**SLURM_STEP, "SLURM_STEP_TASKS_PER_NODE": "4(x2"},
        ("tasks per node '4(x2' cannot be read", "'4(x2),3'"),
    ),
    Refused(
        "tasks per node for fewer nodes than this one",
        {**SLURM_STEP, "SLURM_STEP_TASKS_PER_NODE": "4"},
        ("list 1 nodes, but this is node 1",),
    ),
    Refused("a step id that is no number", {**SLURM_STEP, "SLURM_STEP_ID": "batch"}, ("SLURM_STEP_ID='batch'",)),
    Refused("a restart count that is no number", env("SLURM_RESTART_COUNT=one"), ("SLURM_RESTART_COUNT='one'",)),
)
