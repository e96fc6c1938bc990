"""A file system that two nodes share, made on this machine.

A node is a program with a host name and a mount namespace of its own, or a kernel of its own. Both nodes see the file
system below one path, as on a cluster.
"""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

_ENTER = 'mount --bind "$1" "$2" && hostname "$3" && shift 3 && exec "$@"'


def run(*words: str | Path) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


class SharedDisk(ABC):
    """One file system, mounted for two nodes.

    Args:
        folder: Where its files and mount points are.

    Attributes:
        kind: Type in the table of mounts.
        path: Where the programs on both nodes see it.
        mounts: Mount point of each node, by name of the node.
        server: Where its content is seen without caches.
        views: Nodes whose mounts have their own caches.
        ranks: Environment variables by which ranks on the nodes meet.
    """

    kind: str
    views: Sequence[str] = ("node-a", "node-b")
    ranks: Mapping[str, str] = MappingProxyType({"MASTER_ADDR": "127.0.0.1"})

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
