"""Opens a run directory on rank 0: a new one, or another attempt of an existing one."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from ranklog.journal import layout
from ranklog.journal.reader import JournalReader
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
        InvalidArgumentError: ``resume="never"`` and the run exists, or ``"must"`` and it does not.
        OSError: the directory cannot be written.
    """
    exists = (run_dir / layout.FACTS).exists()
    if exists and resume == "never":
        raise InvalidArgumentError(f'run {run_dir.name!r} exists in {run_dir.parent} and resume="never"')
    if not exists and resume == "must":
        raise InvalidArgumentError(f'there is no run {run_dir.name!r} in {run_dir.parent} and resume="must"')
    number = 0
    if exists:
        for entry in JournalReader(run_dir).poll():
            if isinstance(entry.record, Attempt):
                number = max(number, entry.record.attempt + 1)
    else:
        layout.make_private_dir(run_dir)
        layout.write_facts(
            run_dir,
            RunFacts(
                protocol=PROTOCOL,
                run_id=run_dir.name,
                experiment=experiment,
                created_ns=time.time_ns(),
                ranklog_version=__version__,
                command=mask_command(sys.orig_argv),
            ),
        )
    return Attempt(PROTOCOL, run_dir.name, number, place, socket.gethostname(), os.getpid(), time.time_ns(), specs)
