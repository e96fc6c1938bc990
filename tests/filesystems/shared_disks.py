"""File systems that two nodes share, made on this machine: sshfs, btrfs with a quota, overlay.

A node is a program with a host name and a mount namespace of its own. Both nodes see the file system below one path, as
on a cluster. With sshfs, each node has its own mount and therefore its own caches.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cluster import wait_until

PROGRAMS = {
    "sshfs": ("sshfs", "sshd", "ssh-keygen", "fusermount"),
    "btrfs": ("mkfs.btrfs", "btrfs"),
    "overlay": ("mount",),
    "glusterfs": ("glusterd", "gluster", "glusterfs"),
}
_ENTER = 'mount --bind "$1" "$2" && hostname "$3" && shift 3 && exec "$@"'


def run(*words: str | Path) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def fill(path: Path) -> None:
    """Write a file that leaves no space."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def missing(kind: str) -> str:
    """Return what this machine lacks for a file system; empty if nothing."""
    lacking = [name for name in PROGRAMS[kind] if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if os.geteuid() != 0:
        lacking.append("root")
    if kind == "sshfs" and not Path("/dev/fuse").exists():
        lacking.append("/dev/fuse")
    return ", ".join(lacking)


class SharedDisk(ABC):
    """One file system, mounted for two nodes.

    Args:
        folder: Where its files and mount points are.

    Attributes:
        path: Where the programs on both nodes see it.
        mounts: Mount point of each node, by name of the node.
        server: Where its content is seen without caches.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "shared"
        self.path.mkdir()
        self._undo = ExitStack()
        try:
            self.mounts, self.server = self._mount()
        except BaseException:
            self._undo.close()
            raise

    @abstractmethod
    def _mount(self) -> tuple[dict[str, Path], Path]:
        """Mount it; return the mount points of both nodes, and the content without caches."""

    @abstractmethod
    def go_away(self) -> None:
        """Let it stop to take data."""

    @abstractmethod
    def come_back(self) -> None:
        """End what `go_away` began."""

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let it take no data while the block runs."""
        self.go_away()
        try:
            yield
        finally:
            self.come_back()

    def on(self, node: str, *words: str | Path) -> list[str]:
        """Return the command that runs a program on a node."""
        enter = ["unshare", "--uts", "--mount", "sh", "-c", _ENTER, "sh"]
        return [*enter, *map(str, (self.mounts[node], self.path, node, *words))]

    def close(self) -> None:
        """Unmount it and end its programs."""
        self._undo.close()

    def _mounted(self, point: Path, *words: str | Path) -> Path:
        point.mkdir()
        run(*words, point)
        self._undo.callback(run, "umount", "-l", point)
        return point


class Sshfs(SharedDisk):
    """Two mounts over an sshd of its own, which listens on the loopback interface."""

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


KINDS: dict[str, type[SharedDisk]] = {"sshfs": Sshfs, "btrfs": Btrfs, "overlay": Overlay}
"""File systems of the tests."""
ON_DEMAND: dict[str, type[SharedDisk]] = {"glusterfs": Glusterfs}
"""File systems of `benchmarks.soak.shared_disks`, which names one in ``RANKLOG_TEST_DISK``."""


def _succeeds(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return bool(connection.recv(1))
    return False


def mounted(kind: str, folder: Path) -> Iterator[SharedDisk]:
    """Make a file system for a fixture. In CI, a machine that lacks something for it fails the test."""
    lacking = missing(kind)
    if lacking and os.environ.get("CI", "").lower() != "true":
        pytest.skip(f"{kind} needs {lacking}: scripts/setup-runtimes.sh installs the packages")
    disk = {**KINDS, **ON_DEMAND}[kind](folder)
    yield disk
    disk.close()


def wait_all(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Wait until processes have ended, all with status 0; return what they printed."""
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs
