"""NFS 4.1 with two client kernels: each node is a kernel of user-mode Linux, the server is NFS-Ganesha.

Needs root and the packages ``user-mode-linux``, ``nfs-ganesha``, ``nfs-ganesha-vfs`` and ``kmod``. All traffic stays in
one network namespace. A guest has this machine's files. It writes to the NFS mount and to the folder of the test; other
changes stay in its memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from cluster import wait_until
from guest_agent import PORT
from shared_disk import SharedDisk, run

HERE = Path(__file__).parent
SERVER = "10.9.0.1"
ADDRESSES = {"node-a": "10.9.0.2", "node-b": "10.9.0.3"}
OPTIONS = os.environ.get("RANKLOG_TEST_NFS_OPTIONS", "vers=4.1,proto=tcp")
_GANESHA = """
NFS_CORE_PARAM {{ Protocols = 4; Bind_addr = {server}; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSV4 {{ Grace_Period = 5; Lease_Lifetime = 20; RecoveryRoot = "{folder}/recovery"; Minor_Versions = 1; }}
EXPORT {{
    Export_Id = 1; Path = "{folder}/export"; Pseudo = "/shared"; Protocols = 4; Transports = TCP;
    Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }}
}}
"""


class Nfs(SharedDisk):
    """One mount in each of two kernels. It goes away when its server stops to answer."""

    kind = "nfs4"
    ranks = MappingProxyType({"MASTER_ADDR": ADDRESSES["node-a"], "GLOO_SOCKET_IFNAME": "vec0"})

    def _mount(self) -> tuple[dict[str, Path], Path]:
        export = self.folder / "export"
        for folder in (export, self.folder / "recovery"):
            folder.mkdir()
        self._guests: dict[str, subprocess.Popen[bytes]] = {}
        self._namespace = self._network()
        self._server = self._serve()
        taps = {node: f"tap{number}" for number, node in enumerate(ADDRESSES)}
        for node, tap in taps.items():
            self._in_namespace("ip", "tuntap", "add", tap, "mode", "tap")
            self._in_namespace("ip", "link", "set", tap, "master", "bridge", "up")
            self._boot(node, tap)
        for node, address in ADDRESSES.items():
            wait_until(lambda: self._is_up(node, address), 60, (self.folder / f"{node}.log").read_text)  # noqa: B023
        return dict.fromkeys(ADDRESSES, self.path), export

    def _network(self) -> list[str]:
        """Start a network namespace with a bridge; return the command that enters it."""
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self._undo.callback(self._kill, holder)
        mine = Path("/proc/self/ns/net").readlink()
        wait_until(lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != mine, 30)
        enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        run(*enter, "ip", "link", "set", "lo", "up")
        run(*enter, "ip", "link", "add", "bridge", "type", "bridge")
        run(*enter, "ip", "address", "add", f"{SERVER}/24", "dev", "bridge")
        run(*enter, "ip", "link", "set", "bridge", "up")
        return enter

    def _in_namespace(self, *words: str | Path) -> str:
        return run(*self._namespace, *words)

    def _serve(self) -> subprocess.Popen[bytes]:
        config = self.folder / "ganesha.conf"
        config.write_text(_GANESHA.format(server=SERVER, folder=self.folder))
        log = self.folder / "ganesha.log"
        files = ("-f", config, "-L", log, "-p", self.folder / "ganesha.pid")
        server = subprocess.Popen([*self._namespace, "ganesha.nfsd", "-F", *map(str, files)])
        self._undo.callback(self._kill, server)
        wait_until(lambda: self._answers(SERVER, 2049), 60, log.read_text)
        return server

    def _boot(self, node: str, tap: str) -> None:
        settings = {
            "node": node,
            "address": ADDRESSES[node],
            "interface": "vec0",
            "server": SERVER,
            "shared": self.path,
            "mount_options": OPTIONS,
            "local": self.folder.parent,
            "python": sys.executable,
            "agent": HERE / "guest_agent.py",
        }
        kernel = [
            *("linux.uml", "mem=2500M", "con=null", "con0=null,fd:1",),
            *("root=none", "rootfstype=hostfs", "rootflags=/", "ro", f"init={HERE}/guest_init.sh"),
            f"vec0:transport=tap,ifname={tap},depth=64,gro=1",  # without gro, large reads hang
            *(f"{name}={value}" for name, value in settings.items()),
        ]
        # The kernel is the first process of a namespace: its own processes end with it.
        alone = ["unshare", "--pid", "--fork", "--kill-child"]
        with (self.folder / f"{node}.log").open("wb") as log:
            guest = subprocess.Popen(
                [*self._namespace, *alone, *kernel], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._guests[node] = guest
        self._undo.callback(self._end_guest, node)

    def _end_guest(self, node: str) -> None:
        """End the kernel of a node, as a loss of power does. `unshare` then ends as well."""
        guest = self._guests[node]
        for pid in Path(f"/proc/{guest.pid}/task/{guest.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        guest.wait(60)

    def _is_up(self, node: str, address: str) -> bool:
        log = (self.folder / f"{node}.log").read_text(errors="replace")
        assert "Kernel panic" not in log, log
        return self._answers(address, PORT)

    def _answers(self, address: str, port: int) -> bool:
        """Whether something listens at an address in the network namespace."""
        probe = f"import socket; socket.create_connection(({address!r}, {port}), timeout=5)"
        command = [*self._namespace, sys.executable, "-c", probe]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def on(self, node: str, *words: str | Path) -> list[str]:
        there = (sys.executable, HERE / "on_guest.py", ADDRESSES[node], *words)
        return [*self._namespace, *map(str, there)]

    def go_away(self) -> None:
        self._server.send_signal(signal.SIGSTOP)

    def come_back(self) -> None:
        self._server.send_signal(signal.SIGCONT)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait(60)
