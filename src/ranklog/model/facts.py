"""Facts about the ranks and the job of a run, stored once as records of the journal.

In: the findings of `ranklog.job.facts` on each rank. Out: views and backends. Plain data; secrets are masked before.
"""

from __future__ import annotations

import msgspec


class RankFacts(msgspec.Struct, frozen=True, array_like=True, tag="rank", gc=False):
    """One rank of an attempt.

    Attributes:
        rank: Global rank.
        time_ns: When these facts were collected.
        host: Name of its host.
        node_rank: Index of its node.
        local_rank: Rank on the node.
        pid: Process id on the host.
        device: Device it computes on: ``cuda:1`` in this process's numbering of GPUs, or ``cpu``.
        device_model: Name of the GPU; empty without one or if unknown.
        cpu: Name of the processor; empty if unknown.
        cores: Logical CPUs that it may use.
        memory_bytes: Memory that it may use, of the node or its control group; 0 if unknown.
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
    """State of the code.

    Attributes:
        commit: Hash of the commit.
        branch: Name of the branch; empty when detached.
        dirty: Whether files differ from the commit; None if unknown.
        remote: Address of the remote ``origin``, without user and password; empty without one.
    """

    commit: str
    branch: str
    dirty: bool | None
    remote: str = ""


class JobFacts(msgspec.Struct, frozen=True, array_like=True, tag="job"):
    """Facts about one attempt as a whole, collected by rank 0.

    Attributes:
        time_ns: When these facts were collected.
        command: The command line, secrets masked.
        directory: Working directory.
        versions: Versions of Python, ranklog and the frameworks that the program had imported.
        git: State of the repository of the working directory; None without one.
        scheduler: Name of the scheduler; empty without one.
        facts: The scheduler's facts about the job: ``partition``, ``account``, ``nodes``, ``restarts`` and others.
        submitted_ns: When the job was submitted or requeued. This and the next two are None if unknown.
        started_ns: When it was started.
        ends_ns: When it will end at the latest.
        script: The script that Python runs, from ``sys.argv[0]``; empty in an interactive session.
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
    """Return the facts of a job that backends store, by name.

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
