"""The `ranklog.abc.Sink` of a session: queues records, hands slow jobs to the background worker, and warns.

Guarantees: never waits for a disk. Items of one kind and name stay in order, also while a background job stores one of
them. Usable from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ranklog.abc import Content, Job, PendingItem
from ranklog.model.losses import LOST_ITEMS
from ranklog.model.place import Place
from ranklog.model.record import File, Item, Record
from ranklog.pipeline.background import Background
from ranklog.pipeline.inbox import Inbox
from ranklog.process.health import Health


class SessionSink:
    """Takes the records of items and observers.

    Args:
        place: This process.
        inbox: Takes records.
        health: Takes warnings.
        run_dir: Returns the run directory within a time in seconds; see `ranklog.abc.Sink`.

    Attributes:
        worker: Runs slow jobs.
    """

    def __init__(self, place: Place, inbox: Inbox, health: Health, run_dir: Callable[[float], Path]) -> None:
        self.place = place
        self.worker = Background(inbox.put, self._lose)
        self._inbox = inbox
        self._health = health
        self._run_dir = run_dir
        self._lost: list[None] = []  # a list, since any thread may add

    def submit(self, record: Record, contents: Sequence[Content | File] = ()) -> None:
        """Queue a record; an item comes with its contents, and after background jobs under its kind and name."""
        if not isinstance(record, Item):
            self._inbox.put(record)
            return
        pending = PendingItem(record, tuple(contents))
        key = f"{record.kind} {record.name!r}"
        if self.worker.is_busy(key):
            self.background(key, lambda: [pending])
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
        """The run directory.

        Raises:
            RanklogError: this rank does not know it in time.
        """
        return self._run_dir(timeout_s)

    @property
    def lost(self) -> int:
        """Items that were lost before they were queued."""
        return len(self._lost)

    def _lose(self, name: str, error: Exception) -> None:
        self.report(LOST_ITEMS, f"{name} is lost: it cannot be stored: {error}. Free space or quota there")
