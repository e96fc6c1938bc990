"""Callbacks that run in a forked child, for example a DataLoader worker.

A child inherits loggers, signal handlers and descriptors of its parent, but none of its threads. Each callback lets go
of what belongs to the parent. It runs once, in the child, in the order of registration; the child's own registry starts
empty. A callback that raises does not stop the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

Callback = Callable[[], object]

_callbacks: list[Callback] = []
_hooked = False


def register(callback: Callback) -> None:
    """Run a callback in children that are forked from now on; without effect when it is registered already."""
    global _hooked  # noqa: PLW0603 - a hook of the process cannot be removed
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_run)
    if callback not in _callbacks:
        _callbacks.append(callback)


def unregister(callback: Callback) -> None:
    """Remove a callback; without effect when it is not registered."""
    if callback in _callbacks:
        _callbacks.remove(callback)


def _run() -> None:
    inherited = tuple(_callbacks)
    _callbacks.clear()
    for callback in inherited:
        try:
            callback()
        except Exception as error:
            sys.stderr.write(f"ranklog: in a forked child: {error!r}\n")
