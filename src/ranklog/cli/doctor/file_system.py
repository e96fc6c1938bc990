"""Checks of the file system of the runs by what the kernel tells: its nature, and whether its sizes mean anything.

In: table of mounts and sizes. Out: findings. Pure, except for `size_check`, which asks the kernel for sizes.
"""

from __future__ import annotations

import os
from pathlib import Path

from ranklog.cli.doctor.check import Check
from ranklog.journal.file_system import FileSystem
from ranklog.view.units import size_text

_LOW_BYTES = 1 << 30
_FULL_BYTES = 64 << 20
_FEW_INODES = 10_000
_NONSENSE_BYTES = 1 << 60
"""No disk has 1 EiB; s3fs reports 16."""
_KNOWN = {
    "network": "a network file system",
    "local": "a local file system",
    "temporary": "which is deleted with the container or the node",
    "object store": "an object store",
}


def nature_check(where: str, found: FileSystem) -> Check:
    """Judge the kind of a file system.

    Args:
        where: The directory, as shown.
        found: Its file system.
    """
    text = f"{where} is on {found.kind} at {found.point or '/'}, {_KNOWN[found.nature]}"
    if found.nature == "object store":
        text += ": two processes can create the same file, and synced data may be only in the cache of this node"
        cure = "set RANKLOG_DIR to a disk or a shared file system, and copy finished runs to the store"
        return Check(name="run directory", level="bad", text=text, cure=cure)
    if "volatile" in found.options:
        text += "; it is mounted with `volatile`, so syncs do nothing"
        cure = "mount it without `volatile`, or bind a folder of the host and set RANKLOG_DIR to it"
        return Check(name="run directory", level="bad", text=text, cure=cure)
    if found.nature == "temporary":
        cure = "set RANKLOG_DIR to a folder that survives the job; in a container, bind it: --bind $RANKLOG_DIR"
        return Check(name="run directory", level="warn", text=text, cure=cure)
    if found.program and found.nature == "local":
        text += " (FUSE); the file system below it decides"
    return Check(name="run directory", level="ok", text=text)


def size_check(existing: Path, found: FileSystem) -> Check:
    """Check free space and inodes, unless the file system reports sizes that mean nothing."""
    stat = os.statvfs(existing)
    total, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
    if found.nature == "object store" or not total or total >= _NONSENSE_BYTES or free > total:
        text = f"unknown: {found.kind} reports {size_text(free)} free of {size_text(total)}"
        return Check(name="space", level="ok", text=text)
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
