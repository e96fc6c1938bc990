"""Ends threads that may be inside torch's code before the interpreter does: it would crash the process there.

Registered when this module is imported, before the hook that closes open loggers, and so called after it.
"""

from __future__ import annotations

import atexit
import threading
import weakref

from ranklog.world.shutdown import PROCESS_ENDING

END_S = 2.0

_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def join_at_exit(thread: threading.Thread) -> None:
    """Have a thread, which gives up when the process ends, joined at exit."""
    _threads.add(thread)


def _end_threads() -> None:
    PROCESS_ENDING.set()
    for thread in list(_threads):
        thread.join(END_S)


atexit.register(_end_threads)
