"""Brings everything logged so far into the journal, for `flush` and for signals.

Runs in the calling thread, which gives commands to the drain thread and waits with a deadline. It holds no lock, so
that a signal handler may flush in the middle of a flush.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from ranklog.model.place import Place
from ranklog.model.record import Event
from ranklog.pipeline.background import Background
from ranklog.pipeline.drain import Drain
from ranklog.pipeline.reducer import Reducer
from ranklog.process.blackbox import BlackBox
from ranklog.world.progress import Progress


class Flushing:
    """Flushes one session.

    Args:
        place: This process.
        background: Runs slow jobs.
        drain: Owns the journal.
        reducer: Reduces values over ranks.
        black_box: Last output and metrics of this process.
        lost: How many items and records are lost so far.
        progress: Moves communication on, for strategies that need the training thread.
    """

    def __init__(
        self,
        place: Place,
        *,
        background: Background,
        drain: Drain,
        reducer: Reducer,
        black_box: BlackBox,
        lost: Callable[[], int],
        progress: Progress | None,
    ) -> None:
        self._place = place
        self._background = background
        self._drain = drain
        self._reducer = reducer
        self._black_box = black_box
        self._lost = lost
        self._lost_told = 0
        self._progress = progress

    def flush(self, timeout_s: float) -> bool:
        """Journal what was logged before this call; True if the disk confirmed all of it in time.

        A loss is told once: by False.
        """
        deadline_s = time.monotonic() + timeout_s
        done = self._background.wait(deadline_s, self._progress)
        drained = self._drain.call(self._drain.close_rows, deadline_s, self._progress)
        reduced = self._reducer.flush(deadline_s)
        synced = self._drain.call(self._drain.sync, deadline_s, self._progress)
        if drained is None or synced is None:
            return False
        lost = self._lost()
        kept, self._lost_told = lost == self._lost_told, lost
        return done and reduced and synced and kept

    def secure(self, event: Event, timeout_s: float) -> None:
        """At a signal, in another thread than the main one: note it, and journal what was logged before."""
        deadline_s = time.monotonic() + timeout_s
        noted = msgspec.structs.replace(event, rank=self._place.rank)

        def note() -> None:
            self._drain.emit([noted, *self._black_box.items(event.text)])
            self._drain.close_rows()

        self._drain.call(note, deadline_s)
        # Reduced values come where the other ranks got the signal, too, or continue to log.
        self._reducer.flush(deadline_s, helping=False)
        self._drain.call(self._drain.sync, deadline_s)
