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
from ranklog.journal.layout import create_private, make_private_dir
from ranklog.journal.liveness import this_host
from ranklog.view.units import duration, size_text

NETWORK = frozenset(
    (
        "nfs",
        "nfs4",
        "lustre",
        "gpfs",
        "beegfs",
        "ceph",
        "glusterfs",
        "cifs",
        "smb3",
        "9p",
        "afs",
        "pvfs2",
        "panfs",
        "wekafs",
    )
)
TEMPORARY = frozenset(("overlay", "squashfs", "tmpfs", "ramfs", "rootfs"))
_LOW_BYTES = 1 << 30
_FULL_BYTES = 64 << 20
_FEW_INODES = 10_000
_SLOW_SYNC_S = 0.5
_SKEW_S = 30.0
_TRIES = 5
_BLOCK = bytes(64 * 1024)


def mount_of(path: str, table: str) -> tuple[str, str]:
    r"""Return mount point and kind of the file system of a path, from the content of ``/proc/self/mountinfo``.

    Example:
        >>> lines = "1 0 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / /scratch rw shared:1 - lustre mds rw"
        >>> mount_of("/scratch/ada", lines), mount_of("/scratches", lines)
        (('/scratch', 'lustre'), ('/', 'ext4'))
    """
    best = ("", "unknown")
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = fields[4].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, right.split()[0])
    return best


def storage_checks(directory: Path) -> Sequence[Check]:
    """Check the directory of the runs, or its first existing parent."""
    existing = directory.resolve()
    while not existing.exists():
        existing = existing.parent
    found = [_kind(directory, existing)]
    if not os.access(existing, os.W_OK | os.X_OK):
        cure = "set RANKLOG_DIR or savedir= to a folder that you own"
        return [*found, Check(name="writing", level="bad", text=f"{existing} is not writable", cure=cure)]
    found.append(_space(existing))
    folder = existing / f".ranklog-doctor-{this_host()}-{os.getpid()}"
    make_private_dir(folder)
    try:
        found += [_sync(folder), _exclusive(folder), _clock(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _kind(directory: Path, existing: Path) -> Check:
    try:
        table = Path("/proc/self/mountinfo").read_text()
    except OSError:
        table = ""
    point, kind = mount_of(str(existing), table)
    where = "" if existing == directory.resolve() else f" (does not exist yet, in {existing})"
    text = f"{directory}{where} is on {kind} at {point or '/'}"
    if kind in NETWORK or (kind.startswith("fuse") and kind != "fuseblk"):
        return Check(name="run directory", level="ok", text=f"{text}, a network file system")
    if kind in TEMPORARY:
        cure = "set RANKLOG_DIR to a folder that survives the job; in a container, bind it: --bind $RANKLOG_DIR"
        text = f"{text}, which is deleted with the container or the node"
        return Check(name="run directory", level="warn", text=text, cure=cure)
    return Check(name="run directory", level="ok", text=f"{text}, a local file system")


def _space(existing: Path) -> Check:
    stat = os.statvfs(existing)
    free = stat.f_bavail * stat.f_frsize
    few = stat.f_files > 0 and stat.f_favail < _FEW_INODES
    # Rounded, because ranks see slightly different values and equal findings are merged.
    text = f"{size_text(free).partition('.')[0]} GiB free" if free >= _LOW_BYTES else f"{size_text(free)} free"
    text += f", but only {stat.f_favail:,} inodes" if few else ""
    cure = "free space or quota, or set RANKLOG_DIR to another file system"
    if free < _FULL_BYTES:
        return Check(name="space", level="bad", text=text, cure=cure)
    if free < _LOW_BYTES or few:
        return Check(name="space", level="warn", text=text, cure=cure)
    return Check(name="space", level="ok", text=text)


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
