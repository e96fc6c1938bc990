"""Where items and observers put their records: the `ranklog.abc.Sink` of an open session.

In: records and background jobs, from any thread. Out: entries in the inbox. An item waits behind the background jobs
under its kind and name, so that the newest one stays the newest. Nothing here takes a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranklog.abc import Content, Job, PendingItem
from ranklog.model.losses import LOST_ITEMS
from ranklog.model.place import Place
from ranklog.model.record import File, Item, Record
from ranklog.pipeline.background import Background
from ranklog.pipeline.backlog import contents_bytes
from ranklog.pipeline.contents import RunDirectory
from ranklog.pipeline.inbox import PATIENCE_S, Inbox
from ranklog.process.warnings import Health


class SessionSink:
    """The sink of one run.

    Args:
        place: This process.
        directory: The run directory.
        inbox: Takes entries.
        health: Takes trouble.

    Attributes:
        directory: The run directory.
        worker: The background worker.
    """

    def __init__(self, place: Place, directory: RunDirectory, inbox: Inbox, health: Health) -> None:
        self._place = place
        self.directory = directory
        self._inbox = inbox
        self._health = health
        self._lost: list[None] = []  # a list, since any thread may add
        self.worker = Background(inbox.put, self._lose)

    @property
    def place(self) -> Place:
        """This process's place."""
        return self._place

    @property
    def lost(self) -> int:
        """Items that could not be stored."""
        return len(self._lost)

    def submit(self, record: Record, contents: Sequence[Content | File] = ()) -> None:
        """Queue a record; an item comes with its contents, and after background jobs under its kind and name."""
        if not isinstance(record, Item):
            self._inbox.put(record)
            return
        pending = PendingItem(record, tuple(contents))
        key = f"{record.kind} {record.name!r}"
        if self.worker.is_busy(key):
            size = contents_bytes(pending)

            def is_full() -> bool:
                return 0 < self.worker.held_bytes > self._inbox.limit_bytes - size

            if self._inbox.wait_while(is_full, lambda: self.worker.busy_s >= PATIENCE_S):
                self.worker.put(key, lambda: [pending], size)
        else:
            self._inbox.put(pending)

    def background(self, key: str, job: Job) -> None:
        """Run a slow job after those before it, and queue what it returns. A job that fails counts as lost."""
        self.worker.put(key, job)

    def report(self, code: str, text: str, *, about: str = "") -> None:
        """Warn once per code and count; never raises. ``about`` tells causes of one code apart."""
        if code == LOST_ITEMS:
            self._lost.append(None)
        self._health.warn(code, text, about=about)

    def run_dir(self, timeout_s: float) -> Path:
        """The path of the run directory; see `RunDirectory.path`."""
        return self.directory.path(timeout_s)

    def reach_run_dir(self) -> Path:
        """The run directory, once it is there; see `RunDirectory.reach`."""
        return self.directory.reach()

    def _lose(self, name: str, error: Exception) -> None:
        self.report(LOST_ITEMS, f"{name} is lost: it cannot be stored: {error}. Free space or quota there")
