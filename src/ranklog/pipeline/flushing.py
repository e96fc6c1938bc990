"""Brings everything logged so far into the journal, for `flush` and for signals.

Runs in the calling thread, which gives commands to the drain thread and waits with a deadline. It holds no lock, so
that a signal handler may flush in the middle of a flush.
"""

from __future__ import annotations

import threading
import time

import msgspec

from ranklog.model.record import Event
from ranklog.pipeline.contents import LOOK_EVERY_S
from ranklog.pipeline.parts import Parts
from ranklog.pipeline.waiting import Reply


class Flushing:
    """Flushes one session.

    Args:
        parts: What is flushed.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._told = threading.local()  # `lost`: losses that this thread has been told

    def flush(self, timeout_s: float) -> bool:
        """Journal what was logged before this call; True if the disk confirmed all of it in time.

        A loss gives False once per thread, and to a flush that is running in a thread when a signal handler flushes.
        """
        parts = self._parts
        told = getattr(self._told, "lost", 0)  # read first: another flush may run in a signal handler meanwhile
        deadline_s = time.monotonic() + timeout_s
        done = parts.sink.worker.wait(deadline_s, parts.progress)
        drained = parts.drain.call(parts.drain.close_rows, deadline_s, parts.progress)
        while drained and parts.builder.awaits_run_dir and time.monotonic() < deadline_s:
            Reply[None]().wait(min(time.monotonic() + LOOK_EVERY_S, deadline_s), parts.progress)
            drained = parts.drain.call(parts.drain.close_rows, deadline_s, parts.progress)
        reduced = parts.reducer.flush(deadline_s)
        synced = parts.drain.call(parts.drain.sync, deadline_s, parts.progress)
        if drained is None or synced is None:
            return False
        lost = parts.lost
        self._told.lost = lost
        return done and reduced and synced and lost == told

    def secure(self, event: Event, timeout_s: float) -> None:
        """At a signal, in another thread than the main one: note it, and journal what was logged before."""
        parts = self._parts
        deadline_s = time.monotonic() + timeout_s
        noted = msgspec.structs.replace(event, rank=parts.place.rank)

        def note() -> None:
            parts.drain.drain()  # first, so that the black box has the newest metrics
            parts.drain.emit([noted, *parts.black_box.items(event.text)])
            parts.drain.close_rows()

        # First what needs neither the other ranks nor a sync: mpirun of Open MPI kills the process after 0.25 s.
        parts.drain.call_urgently(note, deadline_s)
        # Reduced values come where the other ranks got the signal, too, or continue to log.
        parts.reducer.flush(deadline_s, helping=False)
        parts.drain.call(parts.drain.sync, deadline_s)
