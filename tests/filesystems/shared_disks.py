"""All file systems that two nodes share, by name, for fixtures."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from disk_kinds import Btrfs, Glusterfs, Overlay, Sshfs
from nfs_disk import Nfs
from shared_disk import SharedDisk

KINDS: dict[str, type[SharedDisk]] = {"sshfs": Sshfs, "btrfs": Btrfs, "overlay": Overlay}
"""File systems of the tests."""
ON_DEMAND: dict[str, type[SharedDisk]] = {"glusterfs": Glusterfs, "nfs": Nfs}
"""File systems of `benchmarks.soak.shared_disks`, which names one in ``RANKLOG_TEST_DISK``."""
PROGRAMS = {
    "sshfs": ("sshfs", "sshd", "ssh-keygen", "fusermount"),
    "btrfs": ("mkfs.btrfs", "btrfs"),
    "overlay": ("mount",),
    "glusterfs": ("glusterd", "gluster", "glusterfs"),
    "nfs": ("linux.uml", "ganesha.nfsd", "insmod", "ip", "nsenter"),
}


def missing(kind: str) -> str:
    """Return what this machine lacks for a file system; empty if nothing."""
    lacking = [name for name in PROGRAMS[kind] if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if os.geteuid() != 0:
        lacking.append("root")
    if kind == "sshfs" and not Path("/dev/fuse").exists():
        lacking.append("/dev/fuse")
    return ", ".join(lacking)


@contextmanager
def mounted(kind: str, folder: Path) -> Iterator[SharedDisk]:
    """Make a file system for a test. In CI, a machine that lacks something for it fails the test."""
    lacking = missing(kind)
    if lacking and os.environ.get("CI", "").lower() != "true":
        pytest.skip(f"{kind} needs {lacking}: scripts/setup-runtimes.sh installs the packages")
    disk = {**KINDS, **ON_DEMAND}[kind](folder)
    with closing(disk):
        yield disk


def wait_all(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Wait until processes have ended, all with status 0; return what they printed."""
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs
