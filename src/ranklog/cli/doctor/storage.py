"""Checks of the file system for run directories.

In: the directory. Out: findings about the kind of file system, free space, duration of a sync, exclusive creation of
files, and its clock. Writes to a temporary folder in the directory and removes it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from ranklog.cli.doctor.check import Check
from ranklog.cli.doctor.file_system import nature_check, size_check
from ranklog.journal.file_system import file_system_of, first_existing
from ranklog.journal.layout import create_private, make_private_dir
from ranklog.journal.liveness import this_host
from ranklog.view.units import duration

_SLOW_SYNC_S = 0.5
_SKEW_S = 30.0
_TRIES = 5
_BLOCK = bytes(64 * 1024)


def storage_checks(directory: Path) -> Sequence[Check]:
    """Check the directory of the runs, or its first existing parent."""
    existing = first_existing(directory)
    file_system = file_system_of(directory)
    where = str(directory) if existing == directory.resolve() else f"{directory} (does not exist yet, in {existing})"
    found = [nature_check(where, file_system)]
    if not os.access(existing, os.W_OK | os.X_OK):
        cure = "set RANKLOG_DIR or savedir= to a folder that you own"
        return [*found, Check(name="writing", level="bad", text=f"{existing} is not writable", cure=cure)]
    found.append(size_check(existing, file_system))
    folder = existing / f".ranklog-doctor-{this_host()}-{os.getpid()}"
    make_private_dir(folder)
    try:
        found += [_sync(folder), _exclusive(folder), _clock(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _sync(folder: Path) -> Check:
    times = []
    descriptor = create_private(folder / "journal", os.O_APPEND)
    try:
        for _ in range(_TRIES):
            os.write(descriptor, _BLOCK)
            began_s = time.monotonic()
            os.fdatasync(descriptor)
            times.append(time.monotonic() - began_s)
    finally:
        os.close(descriptor)
    took_s = statistics.median(times)
    # Rounded, because milliseconds differ between ranks and equal findings are merged.
    text = "fdatasync of 64 KiB takes less than 10 ms" if took_s < 0.01 else f"fdatasync of 64 KiB takes {took_s:.2f} s"
    if took_s < _SLOW_SYNC_S:
        return Check(name="sync", level="ok", text=text)
    cure = "training does not wait for it, but flush() and closing do; use a faster file system"
    return Check(name="sync", level="warn", text=text, cure=cure)


def _exclusive(folder: Path) -> Check:
    name = folder / "exclusive"
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return Check(
            name="exclusive creation", level="ok", text="O_EXCL works: two processes cannot write the same journal"
        )
    cure = "use another file system for RANKLOG_DIR"
    return Check(
        name="exclusive creation", level="bad", text="O_EXCL does not work: a file was created twice", cure=cure
    )


def _clock(folder: Path) -> Check:
    name = folder / "clock"
    before = time.time()
    name.touch()
    ahead_s = name.stat().st_mtime - before
    if abs(ahead_s) < _SKEW_S:
        return Check(name="file server's clock", level="ok", text="within half a minute of this host's")
    text = f"{duration(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} this host's"
    cure = "repair NTP: on other hosts, `ranklog ls` may show a live run as killed, or a killed one as live"
    return Check(name="file server's clock", level="warn", text=text, cure=cure)
