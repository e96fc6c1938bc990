"""Where items and observers put their records: the `ranklog.abc.Sink` of an open session.

In: records and background jobs, from any thread. Out: entries in the inbox. An item waits behind the background jobs
under its kind and name, so that the newest one stays the newest. Nothing here takes a lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ranklog.abc import Content, Job, PendingItem
from ranklog.model.errors import RanklogError
from ranklog.model.losses import LOST_ITEMS
from ranklog.model.place import Place
from ranklog.model.record import File, Item, Record
from ranklog.pipeline.background import Background
from ranklog.pipeline.backlog import contents_bytes
from ranklog.pipeline.inbox import Inbox
from ranklog.process.warnings import Health


class SessionSink:
    """The sink of one run.

    Args:
        place: This process.
        directory: Where run directories lie.
        inbox: Takes entries.
        health: Takes trouble.
        ask_run_id: Waits until a monotonic time for the id that rank 0 sends.

    Attributes:
        known_run_id: Id of the run, None while this rank does not know it.
        worker: The background worker.
    """

    def __init__(
        self,
        place: Place,
        directory: Path,
        inbox: Inbox,
        health: Health,
        ask_run_id: Callable[[float], str | None],
    ) -> None:
        self._place = place
        self._directory = directory
        self._inbox = inbox
        self._health = health
        self._ask_run_id = ask_run_id
        self._lost: list[None] = []  # a list, since any thread may add
        self.known_run_id: str | None = None
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
            if self._inbox.wait_while(lambda: 0 < self.worker.held_bytes > self._inbox.limit_bytes - size):
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

    def run_id(self, timeout_s: float) -> str:
        """Id of the run, on every rank; on others than 0 it comes through the communicator.

        Raises:
            RanklogError: rank 0 did not send it in time.
        """
        known = self.known_run_id or self._ask_run_id(time.monotonic() + timeout_s)
        if known is None:
            raise RanklogError(
                f"{self._place}: rank 0 did not send the run id within {timeout_s:g} s: open the logger on every rank "
                "after torch.distributed.init_process_group, or give the same run_id= to every rank"
            )
        self.known_run_id = known
        return known

    def run_dir(self, timeout_s: float) -> Path:
        """The run directory; see `run_id`."""
        return self._directory / self.run_id(timeout_s)

    def _lose(self, name: str, error: Exception) -> None:
        self.report(LOST_ITEMS, f"{name} is lost: it cannot be stored: {error}. Free space or quota there")
