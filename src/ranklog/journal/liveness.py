"""Check whether a process, given by host, pid and time, is still running.

The pid alone is not enough, because another process may have got it since. If the kernel reports start times (Linux),
a process that started after the given time is another one. A zombie counts as gone.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

_SLACK_S = 5.0


def this_host() -> str:
    """Return the name of this host, as written in journals and locks."""
    return socket.gethostname()


def is_alive(host: str, pid: int, seen_ns: int) -> bool | None:
    """Return whether the process that had this pid at ``seen_ns`` still runs; None if it is on another host."""
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
    """Return the wall-clock second at which a process started; -1 for a zombie, None if unknown."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        if state in "ZX":
            return -1.0
        uptime_s = float(Path("/proc/uptime").read_text("ascii").split()[0])
        return time.time() - uptime_s + int(rest[18]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
