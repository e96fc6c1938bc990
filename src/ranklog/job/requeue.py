"""Chooses the run that a job resumes after a requeue, or a restart by torchrun or Ray Train, if the user names none.

In: the environment of rank 0, and a small file beside the runs (`ranklog.job.opened_runs`). It lists the runs that
earlier attempts of this job opened, in order. Out: the id of the run at the same position in that order, or a new id.
The first attempt, a job that is never restarted, and ``resume="never"`` get new runs. Only rank 0 calls this. If the
file cannot be read or written, a new run starts.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ranklog.job.opened_runs import OpenedRuns, Opener, file_of, load, save
from ranklog.job.scheduler import component
from ranklog.journal.heads import read_heads
from ranklog.journal.layout import FACTS
from ranklog.journal.liveness import is_alive, this_host
from ranklog.journal.reader import last_end
from ranklog.model.place import Place
from ranklog.model.redact import mask_text
from ranklog.model.spec import check_run_id
from ranklog.world.place.launchers import number
from ranklog.world.ray import in_ray_worker, training_id

_named = 0
"""Runs of this process that ``RANKLOG_RUN_ID`` named."""
_RAY_GONE_S = 20.0
"""Ray starts new workers while it still ends those of the attempt before."""
_STEP = re.compile(r"(slurm\|[^|]*\|)(\d+)(\|.*)")
_SPECIAL_STEPS = 0xFFFFFFF0  # Slurm's numbers from here on are the batch script and the like


class RunChoice(msgspec.Struct, frozen=True):
    """The run to open next.

    Attributes:
        run_id: Its id.
        remember: Call it once the run is open, so that the next choice of this job is another run.
    """

    run_id: str
    remember: Callable[[], None]


def agreed_attempt(opened: OpenedRuns | None, attempt: int, own: Opener, *, restarted: bool) -> int:
    """Return the number of this attempt of the job, higher than all before. Pure.

    The launcher's number does not suffice: torchrun's agents count the restarts that each of them saw, so after a
    failure on another node rank 0 may still be told 0.

    Args:
        opened: State of the file; None for a job that opens its first run.
        attempt: The number that the launcher's variables give.
        own: This process.
        restarted: Whether this process replaces the last opener, which is gone.

    Example:
        >>> before = OpenedRuns(3, 1, ("a",), Opener("node1", 5))
        >>> agreed_attempt(before, 0, Opener("node1", 5), restarted=False)
        3
        >>> agreed_attempt(before, 0, Opener("node1", 9), restarted=True)
        4
    """
    if opened is None:
        return attempt
    if (opened.opener.host, opened.opener.pid) == (own.host, own.pid):
        return max(attempt, opened.attempt)
    if restarted or own.requeues > opened.opener.requeues:
        return max(attempt, opened.attempt + 1)
    return attempt


def next_run(opened: OpenedRuns | None, attempt: int, new_id: str) -> tuple[str, OpenedRuns]:
    """Return the run that an attempt opens next, and the new state of the file. Pure.

    Args:
        opened: State of the file; None for a job that opens its first run.
        attempt: Number of this attempt of the job.
        new_id: Id to use for a new run.

    Example:
        >>> run, opened = next_run(None, 0, "a")
        >>> next_run(opened, 1, "b")[0], next_run(opened, 0, "b")[0]
        ('a', 'b')
    """
    if opened is None or attempt < opened.attempt:  # a new job with the id of an old one
        opened = OpenedRuns(attempt, 0, ())
    position = opened.position if attempt == opened.attempt else 0
    known = attempt > 0 and position < len(opened.runs)
    runs = opened.runs if known else (*opened.runs[:position], new_id, *opened.runs[position + 1 :])
    return runs[position], OpenedRuns(attempt, position + 1, runs)


def job_key(environ: Mapping[str, str], place: Place, parent: str) -> str | None:
    """Return a key that all attempts of this program in this job share, and no other has; None outside of jobs.

    Args:
        environ: The environment.
        place: This process.
        parent: Identifies the parent process. torchrun's agent stays the same over restarts.
    """
    if job := environ.get("SLURM_JOB_ID"):
        step = environ.get("SLURM_STEP_ID", "")
        real = step.isdecimal() and int(step) < _SPECIAL_STEPS
        alone = real and place.world_size == 1
        # Steps that start together get their numbers in any order, which may change with a requeue. Components do not.
        part = component(environ) if real else ""
        name = f"component {part}" if part else step if real else "batch"
        return "|".join(["slurm", job, name, environ.get("SLURM_PROCID", "") if alone else ""])
    if elastic := environ.get("TORCHELASTIC_RUN_ID"):
        return "|".join(["elastic", elastic, parent if elastic == "none" else ""])
    return None


def new_run_id() -> str:
    """Return an id for a new run: the time and a random part."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def choose_run_id(directory: Path, place: Place, program: str) -> RunChoice:
    """Choose the id of the run that rank 0 opens, if the user's program gives none.

    ``RANKLOG_RUN_ID`` names the first run of a process. The next runs get ``-2`` and so on appended.

    Args:
        directory: Directory of the runs.
        place: This process.
        program: Text that distinguishes the loggers and programs of a job.

    Raises:
        InvalidArgumentError: ``RANKLOG_RUN_ID`` cannot name a directory.
    """
    new_id = new_run_id()
    if named := check_run_id(os.environ.get("RANKLOG_RUN_ID") or None):
        count = _named + 1
        return RunChoice(named if count == 1 else f"{named}-{count}", lambda: _use_name(count))
    own = _this_process()
    in_ray = in_ray_worker()
    key = _ray_key() if in_ray else job_key(os.environ, place, own.parent)
    if key is None:
        return RunChoice(new_id, lambda: None)
    # The number of a step can change with a requeue; see `file_of`.
    before_step, step, after_step = match.groups() if (match := _STEP.match(key)) else (key, "", "")
    digest = _digest(f"{before_step}{after_step}|{program}")
    path = file_of(directory, digest, step, place.attempt, own.arguments)
    before = load(path)
    restarted = before is not None and (
        _await_end(before.opener) if in_ray else _replaces(before, own, directory, batch="|batch|" in key)
    )
    run_id, opened = next_run(before, agreed_attempt(before, place.attempt, own, restarted=restarted), new_id)
    if run_id != new_id and not _can_resume(directory / run_id):
        run_id, opened = (
            new_id,
            msgspec.structs.replace(opened, runs=tuple(new_id if each == run_id else each for each in opened.runs)),
        )
    remembered = msgspec.structs.replace(opened, opener=own)
    return RunChoice(run_id, lambda: save(path, remembered))


def _digest(text: str) -> str:
    return hashlib.sha256(mask_text(text).encode(errors="replace")).hexdigest()[:16]


def _ray_key() -> str | None:
    """Return a key of this training; None for a task or a trial. A launcher's variables are those of Ray's daemon."""
    training = training_id()
    return None if training is None else f"ray|{training}"


def _this_process() -> Opener:
    requeues = number(os.environ, "SLURM_RESTART_COUNT") or 0
    arguments = _digest("\0".join(sys.argv[1:]))
    return Opener(this_host(), os.getpid(), time.time_ns(), _parent(), requeues, arguments)


def _replaces(before: OpenedRuns, own: Opener, directory: Path, *, batch: bool) -> bool:
    """Whether torchrun started this process in the place of the last opener.

    Workers that one agent starts after another are restarts. A worker of another agent is one too, unless the run is
    finished, or both are started by one batch script: then they are two trainings with one rendezvous id or job.
    """
    last = before.opener
    if "TORCHELASTIC_RUN_ID" not in os.environ or not last.pid or last.pid == own.pid:
        return False
    if is_alive(last.host, last.pid, last.time_ns):
        return False
    if last.parent == own.parent:
        return True
    end = last_end(directory / before.runs[before.position - 1])
    return not batch and (end is None or end.status != "FINISHED")


def _await_end(last: Opener) -> bool:
    """Wait until Ray has ended the worker of the attempt before; return whether it has."""
    end_s = time.monotonic() + _RAY_GONE_S
    while is_alive(last.host, last.pid, last.time_ns):
        if last.pid == os.getpid() or time.monotonic() >= end_s:
            return False
        time.sleep(0.1)
    return True


def _use_name(count: int) -> None:
    global _named  # noqa: PLW0603 - counts per process
    _named = count


def _can_resume(run_dir: Path) -> bool:
    """Whether a run exists and no other process of this host writes it."""
    heads = read_heads(run_dir) if (run_dir / FACTS).exists() else []
    if not heads:
        return False
    last = heads[-1].attempt
    return last.pid == os.getpid() or not is_alive(last.host, last.pid, last.time_ns)


def _parent() -> str:
    """Identify the parent process by host, pid and start time, because pids are reused."""
    pid = os.getppid()
    try:
        start = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = ""
    return f"{this_host()}|{pid}|{start}"
