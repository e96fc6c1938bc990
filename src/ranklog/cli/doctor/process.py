"""Checks of this process: its place and the rule that decided it, versions, signals, limits, the job's end.

In: environment, kernel. Out: findings. Changes nothing.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence

from ranklog.cli.doctor.check import Check
from ranklog.cli.run_text import SOON_S, device_text, place_text, versions_text
from ranklog.job.facts import rank_facts, versions_of
from ranklog.job.scheduler import job_times
from ranklog.model.errors import LaunchError
from ranklog.model.place import Place
from ranklog.model.redact import is_secret_name
from ranklog.view.units import date, duration, size_text
from ranklog.world.place.containers import checked_place
from ranklog.world.place.detect import (
    STRATEGY_VARIABLE,
    disagreeing_launchers,
    is_forced_single,
    unjoined_tasks_warning,
)

_FRAMEWORKS = ("torch", "deepspeed", "horovod", "mpi4py", "ray", "lightning")
_SECRETS = ("WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_FEW_FILES = 256


def place_checks(environ: Mapping[str, str]) -> Sequence[Check]:
    """Check the place by the environment: the rule that decided, and launchers that contradict it."""
    try:
        place = checked_place(environ)
    except LaunchError as error:
        text, _, cure = str(error).partition(". ")
        return [Check(name="place", level="bad", text=text, cure=cure)]
    if is_forced_single(environ):
        return [Check(name="place", level="ok", text=f"{place}: set by {STRATEGY_VARIABLE}=single")]
    if place.launcher == "single":
        text = "single process: no launcher variables found"
    else:
        size = place_text(place) if place.world_size > 1 else "single process"
        text = f"{size}: variables of {place.launcher}"
    found = [Check(name="place", level="ok", text=text)]
    if others := disagreeing_launchers(environ):
        found.append(
            Check(
                name="other launchers", level="ok", text=f"ignored, {place.launcher} has priority: {'; '.join(others)}"
            )
        )
    if unjoined_tasks_warning(environ):
        found.append(
            Check(
                name="tasks",
                level="ok",
                text=f"the tasks of {place.launcher} are ranks of one training; if each task trains on its own, set "
                f"{STRATEGY_VARIABLE}=single",
            )
        )
    return found


def rank_check(place: Place) -> Check:
    """Report host, node, device, CPUs and memory."""
    me = rank_facts(place)
    memory = size_text(me.memory_bytes) if me.memory_bytes else "unknown"
    text = f"{me.host}, node {me.node_rank}, {device_text(me)}, {me.cores} CPUs, {memory} of memory"
    return Check(name="rank", level="ok", text=text)


def version_checks() -> Sequence[Check]:
    """Report versions of installed packages, without importing them."""
    return [Check(name="versions", level="ok", text=versions_text(versions_of(_FRAMEWORKS)))]


def limit_checks(place: Place, environ: Mapping[str, str]) -> Sequence[Check]:
    """Check signals, open files, threads and the end of the job."""
    return [_signals(), _files(), *_threads(place, environ), *_job_end(environ)]


def _signals() -> Check:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN or signal.SIGTERM in blocked:
        how = "blocked" if signal.SIGTERM in blocked else "ignored"
        cure = "remove the cause, for example `trap '' TERM` in the job script"
        return Check(
            name="signals", level="warn", text=f"SIGTERM is {how}: a cancelled job ends without notice", cure=cure
        )
    return Check(
        name="signals", level="ok", text="SIGTERM is handled: everything logged is journaled before the process ends"
    )


def _files() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEW_FILES:
        return Check(name="open files", level="warn", text=f"at most {soft} files may be open", cure="ulimit -n 4096")
    return Check(
        name="open files", level="ok", text=f"{f'at most {soft}' if soft >= 0 else 'any number of'} files may be open"
    )


def _threads(place: Place, environ: Mapping[str, str]) -> Sequence[Check]:
    if place.local_world_size == 1 or environ.get("OMP_NUM_THREADS"):
        return []
    text = f"OMP_NUM_THREADS is not set: each of {place.local_world_size} ranks may start one thread per CPU"
    return [
        Check(name="threads", level="warn", text=text, cure="export OMP_NUM_THREADS=<CPUs per node / ranks per node>")
    ]


def _job_end(environ: Mapping[str, str]) -> Sequence[Check]:
    ends_s = job_times(environ).ends_s
    if ends_s is None:
        return [Check(name="time limit", level="ok", text="no time limit known from a scheduler")]
    left_s = ends_s - time.time()
    # Rounded to a minute, so that all ranks report the same text.
    text = f"the job ends {date(int(ends_s * 1e9))}, in {duration(max(60.0, round(left_s / 60) * 60))}"
    if left_s > SOON_S:
        return [Check(name="time limit", level="ok", text=text)]
    cure = "save a checkpoint before it: logger.on_preempt(save, signals=['SIGUSR1']) and sbatch --signal=USR1@180"
    return [Check(name="time limit", level="warn", text=text, cure=cure)]


def secret_checks(environ: Mapping[str, str]) -> Sequence[Check]:
    """Report which secrets are set, without their values."""
    others = [name for name in environ if name.startswith(("WANDB_", "MLFLOW_", "RANKLOG_")) and is_secret_name(name)]
    names = dict.fromkeys([*_SECRETS, *sorted(others)])
    text = ", ".join(f"{name} {'set' if environ.get(name) else 'not set'}" for name in names)
    return [Check(name="secrets", level="ok", text=text)]


def home_checks() -> Sequence[Check]:
    """Check whether the home directory is writable."""
    home = os.path.expanduser("~")  # noqa: PTH111 - as client libraries do; works for unknown users as well
    if os.access(home, os.W_OK):
        return []
    cure = "ranklog does not need it; for other programs, export HOME=<a writable folder>"
    return [Check(name="home", level="warn", text=f"the home directory {home} is not writable", cure=cure)]
