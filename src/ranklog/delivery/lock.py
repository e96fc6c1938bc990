"""``delivery.lock`` in the run directory: one deliverer a run, be it the live forwarder or ``ranklog sync``.

A file made with O_EXCL that names host and process, so it works on shared file systems without lock support.
Guarantees: a lock whose process is gone on this host is taken over at once; one of another host after
`SILENT_S` without a sign of life, which the holder gives when it delivers. A holder calls `ensure` before
each batch, so one that was taken for dead stops instead of delivering twice.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from pathlib import Path

import msgspec

from ranklog.journal.alive import is_alive, this_host
from ranklog.journal.layout import create_private
from ranklog.model.errors import RanklogError

LOCK = "delivery.lock"
SILENT_S = 300.0
_TOUCH_S = 30.0
_WRITING_S = 5.0


class LockedError(RanklogError):
    """Another process delivers this run; the message says which."""


class Holder(msgspec.Struct, frozen=True):
    """Content of the lock file: who delivers."""

    host: str
    pid: int
    time_ns: int
    token: str


class DeliveryLock:
    """The right to deliver one run.

    Args:
        run_dir: The run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK
        self._me = Holder(this_host(), os.getpid(), time.time_ns(), secrets.token_hex(8))
        self._touched_s = 0.0
        self._epoch = 0
        self._threads = threading.Lock()

    def ensure(self) -> int:
        """Hold the lock; returns a number that is another one after the lock was lost and taken again.

        Raises:
            LockedError: another process holds it; says who and how to go on.
            OSError: the directory cannot be written.
        """
        with self._threads:
            if not self._held():
                self._acquire()
                self._epoch += 1
            return self._epoch

    def _acquire(self) -> None:
        for _ in range(3):
            if self._create():
                return
            holder = _read(self._path)
            if not self._is_stale(holder):
                raise LockedError(self._who(holder))
            self._remove_stale(holder)
        raise LockedError(self._who(_read(self._path)))

    def _held(self) -> bool:
        """Whether the lock is still this one; also gives the sign of life for others."""
        holder = _read(self._path)
        if holder is None or holder.token != self._me.token:
            return False
        now_s = time.monotonic()
        if now_s - self._touched_s >= _TOUCH_S:
            os.utime(self._path)
            self._touched_s = now_s
        return True

    def release(self) -> None:
        """Give the lock back, when it is still this one; may be called twice."""
        holder = _read(self._path)
        if holder is not None and holder.token == self._me.token:
            self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        try:
            fd = create_private(self._path)
        except FileExistsError:
            return False
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(self._me))
        self._touched_s = time.monotonic()
        return True

    def _is_stale(self, holder: Holder | None) -> bool:
        silent_s = self._silent_s()
        if holder is None:
            return silent_s > _WRITING_S
        alive = is_alive(holder.host, holder.pid, holder.time_ns)
        return silent_s > SILENT_S if alive is None else not alive

    def _silent_s(self) -> float:
        try:
            return time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return float("inf")

    def _remove_stale(self, judged: Holder | None) -> None:
        """Move the judged lock away; one that somebody else took meanwhile is put back."""
        aside = self._path.with_name(f".{LOCK}.{self._me.token}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return
        if _read(aside) == judged:
            aside.unlink()
        else:
            aside.rename(self._path)

    def _who(self, holder: Holder | None) -> str:
        who = f"process {holder.pid} on {holder.host}" if holder else "another process"
        return (
            f"{who} delivers this run already (last sign of life {self._silent_s():.0f} s ago):"
            f" wait for it, or, if it is gone for certain, delete {self._path}"
        )


def _read(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None
