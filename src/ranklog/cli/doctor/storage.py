"""What the doctor finds about the file system on which the runs will lie.

In: the directory. Out: findings: kind of file system, space, how long a sync takes, whether files can be created
exclusively, whether its clock is ours. Writes into a folder of its own there, which is removed again.
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
PASSING = frozenset(("overlay", "squashfs", "tmpfs", "ramfs", "rootfs"))
_LITTLE_BYTES = 1 << 30
_NO_BYTES = 64 << 20
_FEW_INODES = 10_000
_SLOW_SYNC_S = 0.5
_SKEW_S = 30.0
_TRIES = 5
_BLOCK = bytes(64 * 1024)


def mount_of(path: str, table: str) -> tuple[str, str]:
    r"""Mount point and kind of the file system that a path lies on, by the content of ``/proc/self/mountinfo``.

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
    """Look at the directory of the runs, or where it would be made."""
    there = directory.resolve()
    while not there.exists():
        there = there.parent
    found = [_kind(directory, there)]
    if not os.access(there, os.W_OK | os.X_OK):
        cure = "set RANKLOG_DIR, or give savedir=, to a folder of yours"
        return [*found, Check(name="writing", level="bad", text=f"{there} cannot be written", cure=cure)]
    found.append(_space(there))
    folder = there / f".ranklog-doctor-{this_host()}-{os.getpid()}"
    make_private_dir(folder)
    try:
        found += [_sync(folder), _exclusive(folder), _clock(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _kind(directory: Path, there: Path) -> Check:
    try:
        table = Path("/proc/self/mountinfo").read_text()
    except OSError:
        table = ""
    point, kind = mount_of(str(there), table)
    where = "" if there == directory.resolve() else f" (to be made below {there})"
    text = f"{directory}{where} is on {kind} at {point or '/'}"
    if kind in NETWORK or (kind.startswith("fuse") and kind != "fuseblk"):
        return Check(name="run directory", level="ok", text=f"{text}, a network file system")
    if kind in PASSING:
        cure = "set RANKLOG_DIR to a folder that outlives the job, in a container a bound one: --bind $RANKLOG_DIR"
        text = f"{text}, which goes with the container or the node"
        return Check(name="run directory", level="warn", text=text, cure=cure)
    return Check(name="run directory", level="ok", text=f"{text}, a local file system")


def _space(there: Path) -> Check:
    told = os.statvfs(there)
    free = told.f_bavail * told.f_frsize
    few = told.f_files > 0 and told.f_favail < _FEW_INODES
    # Rounded, and only what matters: each rank sees a little more or less, and equal findings are one line.
    text = f"{size_text(free).partition('.')[0]} GiB free" if free >= _LITTLE_BYTES else f"{size_text(free)} free"
    text += f", but {told.f_favail:,} inodes only" if few else ""
    cure = "free space or quota, or set RANKLOG_DIR to another file system"
    if free < _NO_BYTES:
        return Check(name="space", level="bad", text=text, cure=cure)
    if free < _LITTLE_BYTES or few:
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
    # Milliseconds differ from rank to rank and from call to call: rounded, so that equal findings are one line.
    text = "fdatasync of 64 KiB takes less than 10 ms" if took_s < 0.01 else f"fdatasync of 64 KiB takes {took_s:.2f} s"
    if took_s < _SLOW_SYNC_S:
        return Check(name="sync", level="ok", text=text)
    cure = "training does not wait for it, flush() and closing do; a faster file system makes them shorter"
    return Check(name="sync", level="warn", text=text, cure=cure)


def _exclusive(folder: Path) -> Check:
    name = folder / "exclusive"
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return Check(name="exclusive creation", level="ok", text="O_EXCL works: two processes cannot write one journal")
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
    cure = "have NTP repaired: `ranklog ls` elsewhere takes a live run for killed, or the other way round"
    return Check(name="file server's clock", level="warn", text=text, cure=cure)
