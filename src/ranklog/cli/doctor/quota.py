"""Checks of quotas, of which the sizes of a file system know nothing.

In: the directory. Out: findings. Writes up to `PROBE_BYTES` into a temporary folder there, and asks ``lfs quota`` or
``quota`` where they are installed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ranklog.cli.doctor.check import Check
from ranklog.journal.file_system import FileSystem, file_system_of, first_existing
from ranklog.journal.layout import create_private, make_private_dir
from ranklog.journal.liveness import this_host
from ranklog.view.units import size_text

PROBE_BYTES = 64 << 20
_WRITE_S = 3.0
_ASK_S = 4.0
_CHUNK = bytes(1 << 20)
_NEAR = 0.95
_NUMBERS = re.compile(
    r"(?P<used>\d+)\*?\s+(?P<soft>\d+)\s+(?P<hard>\d+)\s+\S+\s+(?P<files>\d+)\*?\s+(?P<most>\d+)\s+(?P<most_hard>\d+)"
)
_CURE = "delete files or ask for more quota, or set RANKLOG_DIR to another file system"


class Quota(msgspec.Struct, frozen=True):
    """Use and limit of one quota; a limit of 0 means none.

    Attributes:
        used_kib: Used space in KiB.
        limit_kib: Limit of the space in KiB.
        files: Number of files.
        limit_files: Limit of that number.
    """

    used_kib: int
    limit_kib: int
    files: int
    limit_files: int

    @property
    def is_near(self) -> bool:
        """Whether space or files are close to their limit."""
        return _near(self.used_kib, self.limit_kib) or _near(self.files, self.limit_files)


def _near(used: int, limit: int) -> bool:
    return limit > 0 and used >= _NEAR * limit


def quota_in(output: str, mounted: Sequence[str]) -> Quota | None:
    """Return the quota of a file system from the output of ``lfs quota -q`` or ``quota -wp``; None if there is none.

    Args:
        output: What the command printed.
        mounted: Source and mount point of the file system; the commands show one of them.

    Example:
        >>> quota_in("  /scratch  950*  900  1000  6d  12  0  0  -", ["mds:/fs", "/scratch"])
        Quota(used_kib=950, limit_kib=900, files=12, limit_files=0)
    """
    for line in output.splitlines():
        name = next((name for name in mounted if line.strip().startswith(f"{name} ")), None)
        if name is None or not (found := _NUMBERS.search(line.strip(), len(name))):
            continue
        soft, most = int(found["soft"]), int(found["most"])
        return Quota(
            int(found["used"]), soft or int(found["hard"]), int(found["files"]), most or int(found["most_hard"])
        )
    return None


def quota_checks(directory: Path) -> Sequence[Check]:
    """Check by writing, and by asking, whether a quota leaves room for runs."""
    existing = first_existing(directory)
    if not os.access(existing, os.W_OK | os.X_OK):
        return []  # the check of the run directory says so
    return [_write_check(existing), *_ask_checks(file_system_of(existing))]


def _write_check(existing: Path) -> Check:
    folder = existing / f".ranklog-doctor-quota-{this_host()}-{os.getpid()}"
    make_private_dir(folder)
    try:
        written, problem = _fill(folder / "probe")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if problem is None:
        return Check(
            name="quota", level="ok", text="64 MiB can be written" if written >= PROBE_BYTES else "not reached"
        )
    reached = "the quota" if problem.errno == errno.EDQUOT else f"{os.strerror(problem.errno or 0)}:"
    text = f"{reached} leaves less than {size_text(PROBE_BYTES)}: writing failed after {size_text(written)}"
    return Check(name="quota", level="bad", text=text, cure=_CURE)


def _fill(path: Path) -> tuple[int, OSError | None]:
    """Write until `PROBE_BYTES`, the time limit or an error; returns the number of bytes and the error."""
    written, end_s = 0, time.monotonic() + _WRITE_S
    try:
        descriptor = create_private(path)
        try:
            while written < PROBE_BYTES and time.monotonic() < end_s:
                written += os.write(descriptor, _CHUNK)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return written, error
    return written, None


def _ask_checks(found: FileSystem) -> list[Check]:
    command = (
        ["lfs", "quota", "-q", "-u", str(os.getuid()), found.point] if found.kind == "lustre" else ["quota", "-wp"]
    )
    if shutil.which(command[0]) is None:
        return []
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return []  # the answer is a help, and the probe by writing stays
    quota = quota_in(done.stdout, [found.source, found.point])
    return [] if quota is None else [judge_quota(quota, command[0])]


def judge_quota(quota: Quota, program: str) -> Check:
    """Judge a quota that a program reported."""
    parts = []
    if quota.limit_kib:
        parts.append(f"{size_text(quota.used_kib << 10)} of {size_text(quota.limit_kib << 10)}")
    if quota.limit_files:
        parts.append(f"{quota.files:,} of {quota.limit_files:,} files")
    text = f"{' and '.join(parts)} used" if parts else "no limit"
    name = f"quota by `{program}`"
    return (
        Check(name=name, level="warn", text=text, cure=_CURE)
        if quota.is_near
        else Check(name=name, level="ok", text=text)
    )
