"""What a run notes once about the ranks and the job behind it, as records of the journal.

In: what `ranklog.job.facts` finds out on each rank. Out: to views and backends. Plain data, secrets masked before.
"""

from __future__ import annotations

import msgspec


class RankFacts(msgspec.Struct, frozen=True, array_like=True, tag="rank", gc=False):
    """One rank of an attempt, as it sees itself.

    Attributes:
        rank: Global rank.
        time_ns: When it was noted.
        host: Name of its host.
        node_rank: Index of its node.
        local_rank: Rank on the node.
        pid: Process id on the host.
        device: What it computes on: ``cuda:1`` as this process numbers its GPUs, or ``cpu``.
        device_model: Name of the GPU; empty where there is none or it is not told.
        cpu: Name of the processor; empty where the kernel does not tell.
        cores: Logical CPUs that it may run on.
        memory_bytes: Memory that it may use, the node's or its control group's; 0 where it is not told.
    """

    rank: int
    time_ns: int
    host: str
    node_rank: int
    local_rank: int
    pid: int
    device: str
    device_model: str
    cpu: str
    cores: int
    memory_bytes: int

    def __str__(self) -> str:
        return f"rank {self.rank} ({self.host}, {self.device})"


class Git(msgspec.Struct, frozen=True, array_like=True):
    """The state of the code.

    Attributes:
        commit: Its commit.
        branch: Its branch; empty when detached.
        dirty: Whether files differ from the commit; None where that was not found out.
        remote: Address of the remote ``origin``, without user and password; empty where there is none.
    """

    commit: str
    branch: str
    dirty: bool | None
    remote: str = ""


class JobFacts(msgspec.Struct, frozen=True, array_like=True, tag="job"):
    """What belongs to one attempt as a whole; rank 0 finds it out.

    Attributes:
        time_ns: When it was noted.
        command: The command line, secrets masked.
        directory: Working directory.
        versions: Versions of Python, of ranklog and of the frameworks that the program had imported by then.
        git: State of the repository that the working directory is in, None where there is none.
        scheduler: Name of the scheduler, empty without one.
        facts: What it tells about the job: ``partition``, ``account``, ``nodes``, ``restarts`` and the like.
        submitted_ns: When the job was submitted or requeued; this and the next two None where it is not told.
        started_ns: When it was started.
        ends_ns: When it will be ended at the latest.
        script: What Python runs, as ``sys.argv[0]`` tells; empty in an interactive session.
    """

    time_ns: int
    command: tuple[str, ...]
    directory: str
    versions: dict[str, str]
    git: Git | None
    scheduler: str = ""
    facts: dict[str, str] = {}
    submitted_ns: int | None = None
    started_ns: int | None = None
    ends_ns: int | None = None
    script: str = ""


def facts_of(job: JobFacts) -> dict[str, str | bool]:
    """What backends keep of a job's facts, by names of their own.

    Example:
        >>> facts_of(JobFacts(0, ("train.py",), "/home/ada", {"torch": "2.4"}, Git("abc", "main", True), "slurm",
        ...                   {"job": "7"}))
        {'ranklog.version.torch': '2.4', 'ranklog.git.commit': 'abc', 'ranklog.git.dirty': True, 'slurm.job': '7'}
    """
    found: dict[str, str | bool] = {f"ranklog.version.{name}": version for name, version in job.versions.items()}
    if job.git is not None:
        found["ranklog.git.commit"] = job.git.commit
        if job.git.dirty is not None:
            found["ranklog.git.dirty"] = job.git.dirty
        if job.git.remote:
            found["ranklog.git.remote"] = job.git.remote
    return {**found, **{f"{job.scheduler}.{name}": value for name, value in job.facts.items()}}
