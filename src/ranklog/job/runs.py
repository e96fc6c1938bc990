"""Opens a run directory on rank 0: a new run, or a new attempt of an existing one."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from ranklog.job.facts import group_of, this_script
from ranklog.journal import layout
from ranklog.journal.heads import read_heads
from ranklog.journal.liveness import is_alive, this_host
from ranklog.journal.reader import last_end
from ranklog.model import __version__
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, RunFacts
from ranklog.model.redact import mask_command
from ranklog.model.spec import BackendSpec, Resume


def claim_run(
    run_dir: Path, *, experiment: str, resume: Resume, place: Place, specs: tuple[BackendSpec, ...]
) -> Attempt:
    """Create the run directory or find the existing one; returns the attempt that starts now.

    Raises:
        InvalidArgumentError: the run exists with ``resume="never"``, it does not exist with ``resume="must"``, or
            another process on this host still writes it.
        OSError: the directory is not writable.
    """
    exists = (run_dir / layout.FACTS).exists()
    if exists and resume == "never":
        raise InvalidArgumentError(f'run {run_dir.name!r} exists in {run_dir.parent} and resume="never"')
    if not exists and resume == "must":
        raise InvalidArgumentError(f'there is no run {run_dir.name!r} in {run_dir.parent} and resume="must"')
    number = 0
    if exists:
        heads = read_heads(run_dir)
        if heads:
            _refuse_if_written(run_dir, heads[-1].attempt)
        number = max((head.attempt.attempt + 1 for head in heads), default=0)
    else:
        layout.make_private_dir(run_dir)
        _write_facts(
            run_dir,
            RunFacts(
                protocol=PROTOCOL,
                run_id=run_dir.name,
                experiment=experiment,
                created_ns=time.time_ns(),
                ranklog_version=__version__,
                command=mask_command(sys.orig_argv),
                script=this_script(),
                group=group_of(os.environ),
            ),
        )
    return Attempt(PROTOCOL, run_dir.name, number, place, this_host(), os.getpid(), time.time_ns(), specs)


def _write_facts(run_dir: Path, facts: RunFacts) -> None:
    try:
        layout.write_facts(run_dir, facts)
    except BaseException:
        unclaim_run(run_dir)
        raise


def unclaim_run(run_dir: Path) -> None:
    """Undo `claim_run` for a new run when opening fails: remove the run directory, if nothing else is in it."""
    with suppress(OSError):
        (run_dir / layout.FACTS).unlink()
    with suppress(OSError):
        run_dir.rmdir()


def _refuse_if_written(run_dir: Path, last: Attempt) -> None:
    """Refuse a second writer, which would mix two trainings. A writer that is gone, as before a requeue, is fine."""
    if last.pid != os.getpid() and is_alive(last.host, last.pid, last.time_ns) and last_end(run_dir) is None:
        raise InvalidArgumentError(
            f"process {last.pid} on {last.host} already writes run {run_dir.name!r} in {run_dir.parent}: "
            "use another run_id, or end that process"
        )
