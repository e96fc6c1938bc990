"""The nature of a file system follows from the kernel's table of mounts.

The lines of s3fs, rclone and sshfs were recorded from real mounts. The others are written as their documentation shows
them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ranklog.journal.file_system import FileSystem, file_system_of, mount_of

TABLE = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/root rw
64 27 0:49 / /net/ssh rw,nosuid,nodev,relatime - fuse.sshfs ex:/export rw,user_id=0,group_id=0
66 27 0:51 / /net/s3fs rw,nosuid,nodev,relatime shared:3 master:1 - fuse.s3fs s3fs rw,user_id=0,group_id=0
68 27 0:53 / /net/rclone rw,nosuid,nodev,relatime - fuse.rclone m:bucket rw,user_id=0,group_id=0
69 27 0:54 / /net/mountpoint rw,nosuid,nodev,noatime - fuse mountpoint-s3 rw,user_id=0,group_id=0
70 27 0:55 / /disk\040of\134ada rw - fuseblk /dev/sdb1 rw
71 27 0:56 / /home rw,relatime - fuse.gocryptfs /cipher rw
72 27 0:57 / /layers rw,relatime - overlay overlay rw,lowerdir=/a:/b,upperdir=/up,workdir=/work,volatile
73 27 0:58 / /proj rw,relatime - autofs systemd-1 rw
74 73 0:59 / /proj rw,relatime - nfs4 server:/proj rw,vers=4.1
75 27 0:60 / /strange rw,relatime - fuse.newfs newfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "nature"),
    [
        ("/ada", "ext4", "local"),
        ("/net/ssh/runs", "fuse.sshfs", "network"),
        ("/net/s3fs", "fuse.s3fs", "object store"),
        ("/net/rclone/runs", "fuse.rclone", "object store"),
        ("/net/mountpoint/runs", "fuse", "object store"),
        ("/disk of\\ada/runs", "fuseblk", "local"),
        ("/home/ada", "fuse.gocryptfs", "local"),
        ("/layers", "overlay", "temporary"),
        ("/proj/ada", "nfs4", "network"),
        ("/strange/runs", "fuse.newfs", "network"),
    ],
)
def test_the_mount_that_holds_a_path_decides_its_nature(path, kind, nature):
    found = mount_of(path, TABLE)
    assert (found.kind, found.nature) == (kind, nature)


def test_options_of_the_file_system_are_kept():
    assert "volatile" in mount_of("/layers/x", TABLE).options


def test_a_table_without_mounts_gives_an_unknown_local_file_system():
    assert mount_of("/ada", "") == FileSystem()
    assert not FileSystem().is_shared


def test_links_are_followed_and_missing_folders_have_the_file_system_of_their_parent(tmp_path):
    assert file_system_of(Path("/proc/self/none/below")).kind == "proc"
    (tmp_path / "link").symlink_to(Path("/proc") / str(os.getpid()))
    assert file_system_of(tmp_path / "link" / "fd").kind == "proc"
