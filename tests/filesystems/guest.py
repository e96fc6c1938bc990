"""A node with a kernel of its own: user-mode Linux, a kernel that runs as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from cluster import wait_until
from guest_agent import PORT
from shared_disk import run

HERE = Path(__file__).parent


def listens(namespace: list[str], address: str, port: int) -> bool:
    """Return whether a program listens at an address in a network namespace."""
    probe = f"import socket; socket.create_connection(({address!r}, {port}), timeout=5)"
    return subprocess.run([*namespace, sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


class Guest:
    """A kernel whose root file system is this machine's, with changes in memory.

    Args:
        name: Host name.
        address: IP address, also of the agent that runs commands.
        namespace: Command that enters the network namespace.
        log: File for the output of the kernel.
        settings: More variables for ``guest_init.sh``.
    """

    def __init__(self, name: str, address: str, namespace: list[str], log: Path, settings: dict[str, object]) -> None:
        self._address = address
        self._namespace = namespace
        self._log = log
        self._tap = f"tap-{name}"
        self._settings = settings | {"node": name, "address": address, "interface": "vec0", "python": sys.executable}
        self._process: subprocess.Popen[bytes] | None = None
        run(*namespace, "ip", "tuntap", "add", self._tap, "mode", "tap")
        run(*namespace, "ip", "link", "set", self._tap, "master", "bridge", "up")

    def power_on(self) -> None:
        """Boot the kernel, and wait until it runs commands. Do nothing if it runs."""
        if self._is_running():
            return
        kernel = [
            *("linux.uml", "mem=2500M", "con=null", "con0=null,fd:1"),
            *("root=none", "rootfstype=hostfs", "rootflags=/", "ro", f"init={HERE / 'guest_init.sh'}"),
            f"vec0:transport=tap,ifname={self._tap},depth=64,gro=1",  # without gro, large reads hang
            *(f"{name}={value}" for name, value in {**self._settings, "agent": HERE / "guest_agent.py"}.items()),
        ]
        # The kernel is the first process of a namespace: its own processes end with it.
        command = [*self._namespace, "unshare", "--pid", "--fork", "--kill-child", *kernel]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._is_up, 60, self._log.read_text)

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _is_up(self) -> bool:
        log = self._log.read_text(errors="replace")
        assert "Kernel panic" not in log, log
        return listens(self._namespace, self._address, PORT)

    def power_off(self) -> None:
        """End the kernel at once, as a loss of power does. `unshare` then ends as well."""
        if self._process is None or not self._is_running():
            return
        for pid in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        self._process.wait(60)

    def command(self, *words: str | Path) -> list[str]:
        """Return the command that runs a program on this node."""
        return [*self._namespace, sys.executable, str(HERE / "on_guest.py"), self._address, *map(str, words)]
