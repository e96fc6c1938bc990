"""What the doctor finds in this process itself: its place and which rule decided it, versions, signals, time limit.

In: environment, kernel. Out: findings. Reads only.
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
    """Place by the environment, the rule that decided, and who says otherwise."""
    try:
        place = checked_place(environ)
    except LaunchError as error:
        text, _, cure = str(error).partition(". ")
        return [Check(name="place", level="bad", text=text, cure=cure)]
    if is_forced_single(environ):
        return [Check(name="place", level="ok", text=f"{place}: by {STRATEGY_VARIABLE}=single")]
    rule = "no launcher's variables" if place.launcher == "single" else f"{place.launcher}'s variables"
    text = f"{place_text(place) if place.world_size > 1 else 'alone'}, by {rule}"
    found = [Check(name="place", level="ok", text=text)]
    if others := disagreeing_launchers(environ):
        found.append(
            Check(
                name="other launchers", level="ok", text=f"do not count, since {rule} are closer: {'; '.join(others)}"
            )
        )
    if unjoined_tasks_warning(environ):
        found.append(
            Check(
                name="tasks",
                level="ok",
                text=f"{place.launcher}'s tasks count as ranks of one training; if each trains by itself, set "
                f"{STRATEGY_VARIABLE}=single",
            )
        )
    return found


def rank_check(place: Place) -> Check:
    """Host, node and device in words that people know."""
    me = rank_facts(place)
    memory = size_text(me.memory_bytes) if me.memory_bytes else "unknown"
    text = f"{me.host}, node {me.node_rank}, {device_text(me)}, {me.cores} CPUs, {memory} of memory"
    return Check(name="rank", level="ok", text=text)


def version_checks() -> Sequence[Check]:
    """Versions, without importing anything."""
    return [Check(name="versions", level="ok", text=versions_text(versions_of(_FRAMEWORKS)))]


def limit_checks(place: Place, environ: Mapping[str, str]) -> Sequence[Check]:
    """Signals, open files, threads and the end of the job."""
    return [_signals(), _files(), *_threads(place, environ), *_job_end(environ)]


def _signals() -> Check:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN or signal.SIGTERM in blocked:
        how = "blocked" if signal.SIGTERM in blocked else "ignored"
        cure = "start without what does that, for example `trap '' TERM` in the job script"
        return Check(
            name="signals", level="warn", text=f"SIGTERM is {how}: a cancelled job ends without a word", cure=cure
        )
    return Check(name="signals", level="ok", text="SIGTERM brings what was logged into the journal")


def _files() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEW_FILES:
        return Check(name="open files", level="warn", text=f"at most {soft} files may be open", cure="ulimit -n 4096")
    return Check(
        name="open files", level="ok", text=f"at most {soft if soft >= 0 else 'any number of'} files may be open"
    )


def _threads(place: Place, environ: Mapping[str, str]) -> Sequence[Check]:
    if place.local_world_size == 1 or environ.get("OMP_NUM_THREADS"):
        return []
    text = f"OMP_NUM_THREADS is not set: each of {place.local_world_size} ranks may start a thread for every CPU"
    return [Check(name="threads", level="warn", text=text, cure="export OMP_NUM_THREADS=<CPUs of a node / its ranks>")]


def _job_end(environ: Mapping[str, str]) -> Sequence[Check]:
    ends_s = job_times(environ).ends_s
    if ends_s is None:
        return [Check(name="time limit", level="ok", text="no scheduler tells of one")]
    left_s = ends_s - time.time()
    # To the minute, so that all ranks say the same.
    text = f"the job ends {date(int(ends_s * 1e9))}, in {duration(max(60.0, round(left_s / 60) * 60))}"
    if left_s > SOON_S:
        return [Check(name="time limit", level="ok", text=text)]
    cure = "save before it: logger.on_preempt(save, signals=['SIGUSR1']) and sbatch --signal=USR1@180"
    return [Check(name="time limit", level="warn", text=text, cure=cure)]


def secret_checks(environ: Mapping[str, str]) -> Sequence[Check]:
    """Which secrets are set, by name only."""
    others = [name for name in environ if name.startswith(("WANDB_", "MLFLOW_", "RANKLOG_")) and is_secret_name(name)]
    names = dict.fromkeys([*_SECRETS, *sorted(others)])
    text = ", ".join(f"{name} {'set' if environ.get(name) else 'not set'}" for name in names)
    return [Check(name="secrets", level="ok", text=text)]


def home_checks() -> Sequence[Check]:
    """Whether programs that write to the home directory can."""
    home = os.path.expanduser("~")  # noqa: PTH111 - as client libraries ask, also where there is no such user
    if os.access(home, os.W_OK):
        return []
    cure = "ranklog needs none; for other programs export HOME=<a folder that can be written>"
    return [Check(name="home", level="warn", text=f"the home directory {home} cannot be written", cure=cure)]
