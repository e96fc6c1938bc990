"""Which run a job that was requeued, or restarted by torchrun, goes on with, where the user names none.

In: the environment of rank 0, and a small file ``.jobs/<digest>.json`` beside the runs: the runs that earlier attempts
of this job opened, in order. Out: the id of the run that this attempt opens at the same place in that order, or a new
one. The first attempt of a job, a job that no scheduler or torchrun restarts, and ``resume="never"`` make new runs.
Only rank 0 asks; a file that cannot be read or written costs the continuation, not the run.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ranklog.journal.layout import FACTS, make_private_dir, write_private
from ranklog.journal.liveness import is_alive, this_host
from ranklog.journal.reader import read_heads
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.place import Place
from ranklog.model.redact import mask_text
from ranklog.model.spec import check_run_id
from ranklog.world.ray import in_ray_worker

FOLDER = ".jobs"
_named = 0
"""Runs of this process that ``RANKLOG_RUN_ID`` named."""
_NO_STEP = 0xFFFFFFF0  # Slurm's numbers from here on are the batch script and the like


class Opened(msgspec.Struct, frozen=True):
    """The runs of one job, in the order in which a program opens them.

    Attributes:
        attempt: The attempt that wrote this.
        position: How many runs it has opened.
        runs: Run ids, also of earlier attempts that came further.
    """

    attempt: int
    position: int
    runs: tuple[str, ...]


class RunChoice(msgspec.Struct, frozen=True):
    """The run that is opened next.

    Attributes:
        run_id: Its id.
        remember: Called once it is open: the next choice of this job is another one.
    """

    run_id: str
    remember: Callable[[], None]


def next_run(opened: Opened | None, attempt: int, fresh: str) -> tuple[str, Opened]:
    """The run that an attempt opens next, and what to remember; pure.

    Args:
        opened: What was remembered, None for a job that opens its first run.
        attempt: Number of this attempt of the job.
        fresh: Id for a new run.

    Example:
        >>> run, opened = next_run(None, 0, "a")
        >>> next_run(opened, 1, "b")[0], next_run(opened, 0, "b")[0]
        ('a', 'b')
    """
    if opened is None or attempt < opened.attempt:  # a new life of a job that has the name of an old one
        opened = Opened(attempt, 0, ())
    position = opened.position if attempt == opened.attempt else 0
    known = attempt > 0 and position < len(opened.runs)
    runs = opened.runs if known else (*opened.runs[:position], fresh, *opened.runs[position + 1 :])
    return runs[position], Opened(attempt, position + 1, runs)


def job_key(environ: Mapping[str, str], place: Place, parent: str) -> str | None:
    """What is the same for all attempts of this program in this job, and differs for others; None outside of jobs.

    Args:
        environ: The environment.
        place: This process.
        parent: Names the parent process: torchrun's agent is the same one over restarts.
    """
    if job := environ.get("SLURM_JOB_ID"):
        step = environ.get("SLURM_STEP_ID", "")
        real = step.isdecimal() and int(step) < _NO_STEP
        alone = real and place.world_size == 1
        return "|".join(["slurm", job, step if real else "batch", environ.get("SLURM_PROCID", "") if alone else ""])
    if elastic := environ.get("TORCHELASTIC_RUN_ID"):
        return "|".join(["elastic", elastic, parent if elastic == "none" else ""])
    return None


def new_run_id() -> str:
    """An id of a new run: time and a random part."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def choose_run_id(directory: Path, place: Place, program: str) -> RunChoice:
    """The id of the run that rank 0 opens where the user's program names none.

    ``RANKLOG_RUN_ID`` names the first run of a process; the next ones are that with ``-2`` and so on behind it.

    Args:
        directory: Where run directories lie.
        place: This process.
        program: What tells the loggers and programs of a job apart.

    Raises:
        InvalidArgumentError: ``RANKLOG_RUN_ID`` cannot name a directory.
    """
    fresh = new_run_id()
    if named := check_run_id(os.environ.get("RANKLOG_RUN_ID") or None):
        number = _named + 1
        return RunChoice(named if number == 1 else f"{named}-{number}", lambda: _use_name(number))
    # Ray starts workers in any order, and trials at once: nothing tells which is which of the attempt before.
    key = None if in_ray_worker() else job_key(os.environ, place, _parent())
    if key is None:
        return RunChoice(fresh, lambda: None)
    digest = hashlib.sha256(mask_text(f"{key}|{program}").encode(errors="replace")).hexdigest()[:16]
    path = directory / FOLDER / f"{digest}.json"
    run_id, opened = next_run(_load(path), place.attempt, fresh)
    if run_id != fresh and not _can_go_on(directory / run_id):
        run_id, opened = (
            fresh,
            msgspec.structs.replace(opened, runs=tuple(fresh if each == run_id else each for each in opened.runs)),
        )
    remembered = opened
    return RunChoice(run_id, lambda: _remember(path, remembered))


def _use_name(number: int) -> None:
    global _named  # noqa: PLW0603 - of the process
    _named = number


def _remember(path: Path, opened: Opened) -> None:
    try:
        make_private_dir(path.parent)
        write_private(path, msgspec.json.encode(opened))
    except OSError:
        pass  # the run's own directory will say what is wrong with this disk


def _can_go_on(run_dir: Path) -> bool:
    """Whether a run is there and no process of this host writes it, as one does that was started beside this one."""
    heads = read_heads(run_dir) if (run_dir / FACTS).exists() else []
    if not heads:
        return False
    last = heads[-1].attempt
    return last.pid == os.getpid() or not is_alive(last.host, last.pid, last.time_ns)


def _parent() -> str:
    """Host, pid and start of the parent process: a pid alone may be given again."""
    pid = os.getppid()
    try:
        start = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = ""
    return f"{this_host()}|{pid}|{start}"


def _load(path: Path) -> Opened | None:
    try:
        opened = msgspec.json.decode(path.read_bytes(), type=Opened)
        for run in opened.runs:
            check_run_id(run)
    except (OSError, msgspec.MsgspecError, InvalidArgumentError):
        return None
    return opened
