"""NFS 4.1 with two client kernels: each node is a kernel of user-mode Linux, the server is NFS-Ganesha.

Needs root and the packages ``user-mode-linux``, ``nfs-ganesha``, ``nfs-ganesha-vfs`` and ``kmod``. All traffic stays in
one network namespace. A guest has this machine's files. It writes to the NFS mount and to the folder of the test; other
changes stay in its memory.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from cluster import wait_until
from guest import Guest, listens
from shared_disk import SharedDisk, run

SERVER = "10.9.0.1"
ADDRESSES = {"node-a": "10.9.0.2", "node-b": "10.9.0.3"}
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
        self._namespace = self._network()
        self._start_server()
        self._undo.callback(self._kill_server)
        settings: dict[str, object] = {
            "server": SERVER,
            "shared": self.path,
            "mount_options": "vers=4.1,proto=tcp",
            "local": self.folder.parent,
        }
        self.guests = {}
        for node, address in ADDRESSES.items():
            guest = Guest(node, address, self._namespace, self.folder / f"{node}.log", settings)
            self._undo.callback(guest.power_off)
            guest.power_on()
            self.guests[node] = guest
        return dict.fromkeys(ADDRESSES, self.path), export

    def _network(self) -> list[str]:
        """Make a network namespace with a bridge; return the command that enters it."""
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self._undo.callback(holder.wait, 60)
        self._undo.callback(holder.kill)
        mine = Path("/proc/self/ns/net").readlink()
        wait_until(lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != mine, 30)
        enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        run(*enter, "ip", "link", "set", "lo", "up")
        run(*enter, "ip", "link", "add", "bridge", "type", "bridge")
        run(*enter, "ip", "address", "add", f"{SERVER}/24", "dev", "bridge")
        run(*enter, "ip", "link", "set", "bridge", "up")
        return enter

    def _start_server(self) -> None:
        config, log = self.folder / "ganesha.conf", self.folder / "ganesha.log"
        config.write_text(_GANESHA.format(server=SERVER, folder=self.folder))
        files = ("-f", config, "-L", log, "-p", self.folder / "ganesha.pid")
        self._server = subprocess.Popen([*self._namespace, "ganesha.nfsd", "-F", *map(str, files)])
        wait_until(lambda: listens(self._namespace, SERVER, 2049), 60, log.read_text)

    def _kill_server(self) -> None:
        self._server.kill()
        self._server.wait(60)

    @contextmanager
    def server_killed(self) -> Iterator[None]:
        """End the server with SIGKILL, and start another one after the block."""
        self._kill_server()
        try:
            yield
        finally:
            self._start_server()

    def on(self, node: str, *words: str | Path) -> list[str]:
        return self.guests[node].command(*words)

    def go_away(self) -> None:
        self._server.send_signal(signal.SIGSTOP)

    def come_back(self) -> None:
        self._server.send_signal(signal.SIGCONT)
