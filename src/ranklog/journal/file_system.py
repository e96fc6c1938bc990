r"""The file system that holds a path, from the kernel's table of mounts.

`mount_of` is pure; `file_system_of` follows links of the path and may block for its disk. The nature decides which
guarantees hold: on a network file system other machines write too, an object store accepts everything and may keep
nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

Nature = Literal["local", "network", "object store", "temporary"]

_NETWORK = frozenset(
    (
        "nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "cifs", "smb3", "smbfs", "9p", "afs",
        "pvfs2", "orangefs", "panfs", "wekafs", "dvs", "ocfs2", "gfs2", "acfs", "cvfs", "quobyte", "virtiofs",
        "vboxsf", "prl_fs", "fakeowner",
    )
)  # fmt: skip
_TEMPORARY = frozenset(
    ["overlay", "aufs", "squashfs", "tmpfs", "ramfs", "rootfs", "fuse.fuse-overlayfs", "fuse.squashfuse"]
)
_OBJECT_STORES = frozenset(
    (
        "rclone", "s3fs", "goofys", "mountpoint-s3", "gcsfuse", "blobfuse", "blobfuse2", "geesefs", "riofs",
        "ossfs", "cosfs", "obsfs", "s3ql", "yas3fs",
    )
)  # fmt: skip
_LOCAL_FUSE = frozenset(
    (
        "bindfs", "mergerfs", "gocryptfs", "encfs", "cryfs", "unionfs", "unionfs-fuse", "ntfs-3g", "ntfs",
        "exfat", "fuse2fs", "ext2", "ext4", "zfs", "apfs", "lxcfs", "archivemount", "securefs",
    )
)  # fmt: skip
_ESCAPE = re.compile(r"\\([0-7]{3})")


class FileSystem(msgspec.Struct, frozen=True):
    """One mounted file system.

    Attributes:
        point: Where it is mounted.
        kind: Type, as in the table of mounts, for example ``nfs4`` or ``fuse.sshfs``.
        source: Device, server or program that it comes from.
        options: Options of the file system itself.
    """

    point: str = ""
    kind: str = "unknown"
    source: str = ""
    options: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        """The program behind a FUSE file system; empty for others.

        Some programs leave the type at ``fuse`` and give their name as the source.
        """
        name, _, program = self.kind.partition(".")
        if name != "fuse":
            return ""
        return (program or self.source).lower()

    @property
    def nature(self) -> Nature:
        """The class of the file system. Unknown FUSE programs count as network file systems, to be safe.

        Example:
            >>> [FileSystem("/", kind).nature for kind in ("ext4", "fuse.sshfs", "fuse.rclone", "fuse.bindfs")]
            ['local', 'network', 'object store', 'local']
        """
        if self.kind in _TEMPORARY:
            return "temporary"
        if self.program in _OBJECT_STORES:
            return "object store"
        if self.kind in _NETWORK or (self.program and self.program not in _LOCAL_FUSE):
            return "network"
        return "local"

    @property
    def is_shared(self) -> bool:
        """Whether other machines can write to the same files."""
        return self.nature in ("network", "object store")


def mount_of(path: str, table: str) -> FileSystem:
    r"""Return the file system of a path, from the content of ``/proc/self/mountinfo``.

    Example:
        >>> lines = "1 0 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / /scratch rw shared:1 - lustre mds rw"
        >>> mount_of("/scratch/ada", lines).kind, mount_of("/scratches", lines).kind
        ('lustre', 'ext4')
    """
    best = FileSystem()
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, about = left.split(" "), right.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = _unescaped(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best.point):
            source, options = (_unescaped(about[1]) if len(about) > 1 else ""), about[2] if len(about) > 2 else ""
            best = FileSystem(point, about[0], source, tuple(options.split(",")))
    return best


def file_system_of(path: Path) -> FileSystem:
    """Return the file system of a path, or of its first parent that exists."""
    try:
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return FileSystem()
    return mount_of(str(first_existing(path)), table)


def first_existing(path: Path) -> Path:
    """Return the path without links, or its first parent that exists."""
    existing = path.resolve()
    while not existing.exists():
        existing = existing.parent
    return existing


def _unescaped(text: str) -> str:
    """Return a field of the table with its escaped spaces, tabs, newlines and backslashes."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)
