"""File systems of this machine's own kernel: sshfs, btrfs with a quota, overlay, GlusterFS.

With sshfs and GlusterFS, each node has its own mount and therefore its own caches.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

from cluster import wait_until
from shared_disk import SharedDisk, run


def fill(path: Path) -> None:
    """Write a file that leaves no space."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return bool(connection.recv(1))
    return False


class Sshfs(SharedDisk):
    """Two mounts over an sshd of its own, which listens on the loopback interface."""

    kind = "fuse.sshfs"

    def _mount(self) -> tuple[dict[str, Path], Path]:
        export = self.folder / "export"
        export.mkdir()
        Path("/run/sshd").mkdir(exist_ok=True)
        for name in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._start(port)
        mounts = {}
        for node in ("node-a", "node-b"):
            options = f"reconnect,port={port},IdentityFile={self.folder}/user,UserKnownHostsFile=/dev/null"
            options += (
                ",StrictHostKeyChecking=no,ServerAliveInterval=5,ServerAliveCountMax=2,ssh_command=ssh -F /dev/null"
            )
            mounts[node] = self._mounted(self.folder / node, "sshfs", "-o", options, f"root@127.0.0.1:{export}")
        return mounts, export

    def _start(self, port: int) -> None:
        settings = [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host",
            f"AuthorizedKeysFile {self.folder}/user.pub",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "Subsystem sftp internal-sftp",
        ]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(settings) + "\n")
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
        assert sshd is not None
        self._sshd = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
        self._undo.callback(self._end)
        wait_until(lambda: _answers(port), 30)

    def _connections(self) -> list[int]:
        """Return the processes of the server that hold connections."""
        found, parents = [], [self._sshd.pid]
        while parents:
            children = Path(f"/proc/{parents[0]}/task/{parents.pop(0)}/children")
            with suppress(OSError):
                pids = [int(pid) for pid in children.read_text().split()]
                found += pids
                parents += pids
        return found

    def go_away(self) -> None:
        for pid in self._connections():
            os.kill(pid, signal.SIGSTOP)

    def come_back(self) -> None:
        for pid in self._connections():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _end(self) -> None:
        for pid in (*self._connections(), self._sshd.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._sshd.wait(60)


class Btrfs(SharedDisk):
    """A subvolume with a quota, of which `statvfs` knows nothing. It goes away when others use the quota up."""

    kind = "btrfs"
    views = ("node-a",)

    def _mount(self) -> tuple[dict[str, Path], Path]:
        image = self.folder / "image"
        with image.open("wb") as file:
            file.truncate(600 << 20)
        run("mkfs.btrfs", "-q", image)
        whole = self._mounted(self.folder / "whole", "mount", "-o", "loop", image)
        run("btrfs", "quota", "enable", whole)
        self._volume = whole / "volume"
        run("btrfs", "subvolume", "create", self._volume)
        run("btrfs", "qgroup", "limit", "32M", self._volume)
        return dict.fromkeys(("node-a", "node-b"), self._volume), self._volume

    def go_away(self) -> None:
        fill(self._volume / "others")

    def come_back(self) -> None:
        run("btrfs", "qgroup", "limit", "400M", self._volume)


class Overlay(SharedDisk):
    """The file system of a container. It goes away when the disk below it is full."""

    kind = "overlay"
    views = ("node-a",)

    def _mount(self) -> tuple[dict[str, Path], Path]:
        memory = self._mounted(self.folder / "memory", "mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs")
        for name in ("lower", "upper", "work"):
            (memory / name).mkdir()
        layers = ",".join(f"{name}dir={memory / name}" for name in ("lower", "upper", "work"))
        merged = self._mounted(self.folder / "merged", "mount", "-t", "overlay", "overlay", "-o", layers)
        self._others = memory / "others"
        return dict.fromkeys(("node-a", "node-b"), merged), merged

    def go_away(self) -> None:
        fill(self._others)

    def come_back(self) -> None:
        self._others.unlink()


class Glusterfs(SharedDisk):
    """Two mounts of a volume of two bricks. It goes away when its brick servers stop to answer.

    The host name ``brick1`` must lead to 127.0.0.1, since GlusterFS refuses ``localhost``.
    """

    kind = "fuse.glusterfs"

    def _mount(self) -> tuple[dict[str, Path], Path]:
        state = self.folder / "state"
        state.mkdir()
        self._daemon = subprocess.Popen(
            ["glusterd", "--no-daemon", "--xlator-option", f"*.working-directory={state}"], stderr=subprocess.DEVNULL
        )
        self._undo.callback(self._end)
        wait_until(
            lambda: subprocess.run(["gluster", "pool", "list"], capture_output=True, check=False).returncode == 0, 60
        )
        bricks = [f"brick1:{self.folder / name}" for name in ("brick-1", "brick-2")]
        run("gluster", "--mode=script", "volume", "create", "shared", *bricks, "force")
        run("gluster", "--mode=script", "volume", "start", "shared")
        mounts = {
            node: self._mounted(self.folder / node, "mount", "-t", "glusterfs", "brick1:/shared")
            for node in ("node-a", "node-b")
        }
        return mounts, mounts["node-b"]

    def _bricks(self) -> list[int]:
        """Return the processes of the brick servers."""
        found = run("gluster", "volume", "status", "shared", "--xml")
        return [
            int(pid.text or 0) for pid in ElementTree.fromstring(found).iter("pid") if pid.text not in ("-1", "N/A")
        ]

    def go_away(self) -> None:
        self._stopped = self._bricks()
        assert self._stopped
        for pid in self._stopped:
            os.kill(pid, signal.SIGSTOP)

    def come_back(self) -> None:
        for pid in self._stopped:
            os.kill(pid, signal.SIGCONT)

    def _end(self) -> None:
        subprocess.run(
            ["gluster", "--mode=script", "volume", "stop", "shared", "force"], capture_output=True, check=False
        )
        self._daemon.kill()
        self._daemon.wait(60)
