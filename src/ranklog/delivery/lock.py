"""Lock file ``delivery.lock`` in the run directory: one process at a time delivers a run, the forwarder or a sync.

The file is created with O_EXCL and names machine and process, so it works on network file systems without lock support.
Two processes are on one machine when host name, boot id and pid namespace are equal, because containers and clusters
use names and pids twice.

Guarantees: a lock whose process is gone on this machine is taken over at once. So is one that this process could not
remove when it released it, for example because the file system was not mounted. A lock of another machine is a lease.
Its holder renews it every `RENEW_S` in a thread of its own, and it expires `LEASE_S` after the last renewal. The clock
is that of the file server, which all machines share. A holder calls `ensure` before each batch, so a holder that was
taken for dead stops instead of delivering twice.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from ranklog.journal.descriptor import Descriptor
from ranklog.journal.layout import create_private, is_taken, new_file, read_replaced
from ranklog.journal.liveness import is_alive, this_host
from ranklog.model.errors import RanklogError

LOCK = "delivery.lock"
LEASE_S = 300.0
RENEW_S = 30.0
_WRITING_S = 5.0
_own_tokens: set[str] = set()
"""Locks that this process holds."""


class LockedError(RanklogError):
    """Another process delivers this run. The message names it."""


class Holder(msgspec.Struct, frozen=True):
    """Content of the lock file: the process that delivers.

    Attributes:
        host: Name of the host.
        pid: Its process id there.
        time_ns: Time at which it took the lock.
        token: Random text that identifies this lock.
        machine: Boot id and pid namespace in which the pid is valid.
    """

    host: str
    pid: int
    time_ns: int
    token: str
    machine: str = ""


def this_machine() -> str:
    """Return boot id and pid namespace of this process, as far as the kernel gives them."""
    found = []
    with suppress(OSError):
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
    with suppress(OSError):
        found.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - not a path but "pid:[number]"
    return " ".join(found)


class DeliveryLock:
    """The right to deliver one run.

    Args:
        run_dir: The run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK
        self._me = Holder(this_host(), os.getpid(), time.time_ns(), secrets.token_hex(8), this_machine())
        self._epoch = 0
        self._threads = threading.Lock()
        self._released = threading.Event()
        self._renewer: threading.Thread | None = None

    def ensure(self) -> int:
        """Take or keep the lock; returns a number that changes when the lock was lost and taken again.

        Raises:
            LockedError: another process holds it. Says which one and what to do.
            OSError: the directory cannot be written.
        """
        with self._threads:
            if not self._held():
                _own_tokens.add(self._me.token)
                try:
                    self._acquire()
                except BaseException:
                    _own_tokens.discard(self._me.token)
                    raise
                self._epoch += 1
                self._keep_renewing()
            return self._epoch

    def _acquire(self) -> None:
        for _ in range(3):
            if self._create():
                return
            holder = _read(self._path)
            if not self._is_stale(holder):
                raise LockedError(self._describe(holder))
            self._remove_stale(holder)
        raise LockedError(self._describe(_read(self._path)))

    def _held(self) -> bool:
        holder = _read(self._path)
        return holder is not None and holder.token == self._me.token

    def _keep_renewing(self) -> None:
        if self._renewer is None:
            self._renewer = threading.Thread(target=self._renew, name="ranklog-lease", daemon=True)
            self._renewer.start()

    def _renew(self) -> None:
        """Renew the lease while the lock is held, also during a long batch or a long wait for a backend."""
        while not self._released.wait(RENEW_S):
            with suppress(OSError):
                if self._held():
                    os.utime(self._path)

    def release(self) -> None:
        """Release the lock if this process still holds it; may be called twice. Never raises.

        Where the file cannot be removed, the lock is stale: this process or the lease ends it.
        """
        self._released.set()
        if self._renewer is not None:
            self._renewer.join()
        with suppress(OSError):
            if self._held():
                self._path.unlink()
        _own_tokens.discard(self._me.token)

    def _create(self) -> bool:
        try:
            with new_file(self._path) as file:
                file.write(msgspec.json.encode(self._me))
        except FileExistsError:
            return False
        return True

    def _is_stale(self, holder: Holder | None) -> bool:
        if holder is None:
            return self._silent_s() > _WRITING_S
        if (holder.machine, holder.pid) == (self._me.machine, self._me.pid):
            return holder.token not in _own_tokens
        alive = is_alive(holder.host, holder.pid, holder.time_ns) if holder.machine == self._me.machine else None
        return self._silent_s() > LEASE_S if alive is None else not alive

    def _silent_s(self) -> float:
        """Return seconds since the last renewal, by the clock of the file server."""
        try:
            return self._server_time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return float("inf")

    def _server_time(self) -> float:
        probe = self._path.with_name(f".{LOCK}.{self._me.token}.now")
        Descriptor(create_private(probe)).close_quietly()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()

    def _remove_stale(self, judged: Holder | None) -> None:
        """Remove a stale lock. If another process took it meanwhile, restore it."""
        moved = self._path.with_name(f".{LOCK}.{self._me.token}")
        try:
            self._path.rename(moved)
        except FileNotFoundError:
            return
        if _read(moved) != judged:
            # Link, because a rename would replace the lock that a third process may have created meanwhile.
            try:
                self._path.hardlink_to(moved)
            except OSError as error:
                if not is_taken(error, self._path):
                    raise
        moved.unlink()

    def _describe(self, holder: Holder | None) -> str:
        process = f"process {holder.pid} on {holder.host}" if holder else "another process"
        return (
            f"{process} delivers this run already (lease renewed {self._silent_s():.0f} s ago):"
            f" wait for it, or delete {self._path} if that process is certainly gone"
        )


def _read(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(read_replaced(path), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None
