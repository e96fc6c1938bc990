"""Facts about this rank (host, device, memory) and about the job and the code it runs.

In: the environment, files of the kernel, the git repository, the scheduler. Out: `RankFacts` at once, for every rank,
and `JobFacts` for rank 0. The latter may take seconds, so they belong in a background thread. Initialises no device and
imports no framework. Nothing here raises: facts that cannot be found are empty.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ranklog.job.gpus import visible_gpus
from ranklog.job.scheduler import component, job_times
from ranklog.journal.liveness import this_host
from ranklog.model import __version__
from ranklog.model.facts import Git, JobFacts, RankFacts
from ranklog.model.place import Place
from ranklog.model.redact import mask_command, mask_text, split_userinfo
from ranklog.model.text import storable
from ranklog.values.loaded import loaded

GIT_S = 5.0
_GPUS = "/proc/driver/nvidia/gpus"
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_PACKAGES = (
    "torch", "numpy", "deepspeed", "horovod", "mpi4py", "ray", "lightning", "pytorch_lightning", "transformers",
    "accelerate", "tensorflow", "jax",
)  # fmt: skip
_SLURM_FACTS = {
    "name": "SLURM_JOB_NAME",
    "partition": "SLURM_JOB_PARTITION",
    "account": "SLURM_JOB_ACCOUNT",
    "qos": "SLURM_JOB_QOS",
    "reservation": "SLURM_JOB_RESERVATION",
    "cluster": "SLURM_CLUSTER_NAME",
    "nodes": "SLURM_JOB_NODELIST",
    "restarts": "SLURM_RESTART_COUNT",
    "array": "SLURM_ARRAY_JOB_ID",
    "array_task": "SLURM_ARRAY_TASK_ID",
    "step": "SLURM_STEP_ID",
}
_OTHER_FACTS = {
    "pbs": {"name": "PBS_JOBNAME", "queue": "PBS_QUEUE", "array_task": "PBS_ARRAY_INDEX"},
    "lsf": {"name": "LSB_JOBNAME", "queue": "LSB_QUEUE", "nodes": "LSB_HOSTS", "array_task": "LSB_JOBINDEX"},
}
_JOB_ID_VARIABLES = {"slurm": "SLURM_JOB_ID", "pbs": "PBS_JOBID", "lsf": "LSB_JOBID"}


def rank_facts(place: Place) -> RankFacts:
    """Return the facts about this rank. Reads a few files of the kernel.

    Call it in the training thread, because torch's current GPU is a setting per thread.
    """
    return RankFacts(
        rank=place.rank,
        time_ns=time.time_ns(),
        host=this_host(),
        node_rank=place.node_rank,
        local_rank=place.local_rank,
        pid=os.getpid(),
        device=device(place, os.environ),
        device_model=_gpu_model(),
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
    )


def device(place: Place, environ: Mapping[str, str]) -> str:
    """Return the device of this rank: torch's current GPU once CUDA is initialised, else the GPU of its local rank.

    Example:
        >>> device(Place(rank=5, world_size=8, local_rank=1, local_world_size=4), {"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
        'cuda:1'
        >>> device(Place(), {"CUDA_VISIBLE_DEVICES": ""})
        'cpu'
    """
    torch = loaded("torch")
    cuda = getattr(torch, "cuda", None)
    with suppress(Exception):  # a broken driver must not stop training
        if cuda is not None and cuda.is_initialized():
            return f"cuda:{cuda.current_device()}"
    visible = visible_gpus(environ)
    gpus = len(_gpus()) if visible is None else len(visible)
    return f"cuda:{place.local_rank % gpus}" if gpus else "cpu"


def _gpus() -> list[Path]:
    with suppress(OSError):
        return sorted(Path(_GPUS).iterdir())
    return []


def _gpu_model() -> str:
    for gpu in _gpus()[:1]:
        return _field(gpu / "information", "Model")
    return ""


def _cpu_model() -> str:
    return _field(Path("/proc/cpuinfo"), "model name")


def _memory_bytes() -> int:
    """Return the memory of the node, or the limit of this process's control group if that is lower."""
    total = _field(Path("/proc/meminfo"), "MemTotal").partition(" ")[0]
    found = [int(total) * 1024] if total.isdecimal() else []
    for limit in _LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(limit).read_text("ascii")))
    return min(found, default=0)


def _field(path: Path, name: str) -> str:
    """Return the first value of a name in a file of lines ``name : value``."""
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


def job_facts(environ: Mapping[str, str]) -> JobFacts:
    """Return the facts about the job. Runs git and asks the scheduler, for some seconds at most."""
    scheduler, facts = scheduler_facts(environ)
    times = job_times(environ)
    here = Path.cwd()
    return JobFacts(
        time_ns=time.time_ns(),
        command=mask_command(sys.orig_argv),
        directory=storable(str(here)),
        versions=_versions(),
        git=_git(here),
        scheduler=scheduler,
        facts=facts,
        submitted_ns=_ns(times.submitted_s),
        started_ns=_ns(times.started_s),
        ends_ns=_ns(times.ends_s),
        script=this_script(),
    )


def this_script() -> str:
    """Return the script that Python runs, as given by the user; empty in an interactive session."""
    return storable(sys.argv[0]) if sys.argv else ""


def scheduler_facts(environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the name of the scheduler and its facts about the job, from its variables. Pure.

    Example:
        >>> scheduler_facts({"SLURM_JOB_ID": "7", "SLURM_JOB_PARTITION": "gpu", "SLURM_RESTART_COUNT": "1"})
        ('slurm', {'job': '7', 'partition': 'gpu', 'restarts': '1'})
        >>> scheduler_facts({})
        ('', {})
    """
    for name, job_id in _JOB_ID_VARIABLES.items():
        if environ.get(job_id, "").strip():
            wanted = {"job": job_id, **(_SLURM_FACTS if name == "slurm" else _OTHER_FACTS[name])}
            values = {key: environ.get(variable, "").strip() for key, variable in wanted.items()}
            if name == "slurm":
                values["component"] = component(environ)
            return name, {key: storable(value) for key, value in values.items() if value}
    return "", {}


def group_of(environ: Mapping[str, str]) -> str:
    """Return the group of a run: ``RANKLOG_GROUP``, else the job array of its job. Pure.

    Example:
        >>> group_of({"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "2"})
        'array-41'
        >>> group_of({"RANKLOG_GROUP": "sweep", "SLURM_ARRAY_JOB_ID": "41"}), group_of({})
        ('sweep', '')
    """
    if given := environ.get("RANKLOG_GROUP", "").strip():
        return storable(given)
    if array := environ.get("SLURM_ARRAY_JOB_ID", "").strip():
        return storable(f"array-{array}")
    if environ.get("PBS_ARRAY_INDEX", "").strip():  # 41[2].server
        return storable("array-" + re.sub(r"\[.*", "", environ.get("PBS_JOBID", "")))
    if environ.get("LSB_JOBINDEX", "0").strip() not in ("", "0"):
        return storable(f"array-{environ.get('LSB_JOBID', '').strip()}")
    return ""


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return versions of Python, ranklog and installed packages, without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.partition(" ")[0], "ranklog": __version__}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name.replace("_", "-"))
    return found


def _versions() -> dict[str, str]:
    """Return versions of packages that the program has imported."""
    found = versions_of(name for name in _PACKAGES if name in sys.modules)
    cuda = getattr(getattr(loaded("torch"), "version", None), "cuda", None)
    return {**found, "cuda": cuda} if isinstance(cuda, str) else found


def _git(directory: Path) -> Git | None:
    commit = _run_git(directory, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    branch = _run_git(directory, "rev-parse", "--abbrev-ref", "HEAD") or ""
    # Untracked files are often results, and do not change the code.
    changed = _run_git(directory, "status", "--porcelain", "--untracked-files=no")
    return Git(
        commit,
        "" if branch == "HEAD" else mask_text(branch),
        None if changed is None else bool(changed),
        _public(_run_git(directory, "config", "--get", "remote.origin.url") or ""),
    )


def _public(url: str) -> str:
    """Return a git address without possible secrets.

    Example:
        >>> _public("https://ada:token@git.example/lab/digits.git?key=1"), _public("git@git.example:lab/digits.git")
        ('https://git.example/lab/digits.git', 'git@git.example:lab/digits.git')
    """
    try:
        return storable(split_userinfo(url).url.partition("?")[0])
    except ValueError:  # not an address
        return ""


def _run_git(directory: Path, *arguments: str) -> str | None:
    """Return the output of git; None if it fails, is missing, or takes too long, as on a slow file system."""
    # No lock: a killed training must not leave a lock file in the user's repository.
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True, timeout=GIT_S).strip()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1e9)
