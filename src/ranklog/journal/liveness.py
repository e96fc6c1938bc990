"""Whether a process named by host, pid and start is still there.

A pid alone can have been given to another process since: where the kernel tells when a process started
(Linux), one that started after the moment in question is another one. A zombie counts as gone.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

_SLACK_S = 5.0


def this_host() -> str:
    """Name of this host, as journals and locks write it."""
    return socket.gethostname()


def is_alive(host: str, pid: int, seen_ns: int) -> bool | None:
    """Whether the process that had this pid at ``seen_ns`` still runs; None when it is on another host."""
    if host != this_host():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    started_s = _started_s(pid)
    return started_s is None or 0 <= started_s <= seen_ns / 1e9 + _SLACK_S


def _started_s(pid: int) -> float | None:
    """Wall-clock second at which a process started; -1 for a zombie, None where the kernel does not tell."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        if state in "ZX":
            return -1.0
        uptime_s = float(Path("/proc/uptime").read_text("ascii").split()[0])
        return time.time() - uptime_s + int(rest[18]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
