"""Queue from the program's threads to the drain thread, bounded in memory.

In: samples, pending items and ready records, in any thread. Out: the same in their order, by `take` in the drain
thread. Guarantees: while there is room, queueing is one append to a deque. A program that logs faster than the drain
thread works is slowed down until there is room. While the disk stalls nothing waits: entries beyond the limit are
dropped, counted and reported. The same holds if nothing is taken for `PATIENCE_S`: a handler of warnings may block the
drain thread. The drain thread itself never waits, since only it makes room. No lock is taken.

The limit is in bytes, and a length is what `append` can afford to compare: `room` is the limit divided by the average
size of the entries taken last. The contents of items and calls with many values are counted one by one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from ranklog.abc import PendingItem
from ranklog.model.record import Record
from ranklog.pipeline.backlog import RECORD_BYTES, contents_bytes, report_full, size_of
from ranklog.process.warnings import Health
from ranklog.values.snapshot import FEW_VALUES, VALUE_BYTES, Value
from ranklog.world.progress import Progress

Sample = tuple[dict[str, Value], int, int, int, str | None, float | None]
"""Values, step, time_ns, backends, reduction or None, weight or None."""
Entry = Sample | PendingItem | Record

PAUSE_S = 0.001
PATIENCE_S = 5.0
_WEIGHED = 64
"""Most entries of one take that are weighed for the average."""


class Inbox(deque[Entry]):
    """A queue with one reader.

    A log call of metrics appends while ``len(inbox) < inbox.room``; one with more than `FEW_VALUES` values then adds
    them to `counted`, and lowers `room`. Everything else calls `put`.

    Args:
        limit_bytes: Bound of what waits.
        stalled: Whether the reader waits for a disk that does not answer, or has ended.
        full: Called, in the thread that logs, for each entry that is dropped.

    Attributes:
        counted: Bytes that were counted one by one so far.
        room: Entries that may wait; calls with many values lower it until the next `put` or `take`.
        dropped: Entries that were dropped so far.
    """

    # Slots: `log` reads `room` at each call.
    __slots__ = (
        "_average", "_counted_taken", "_full", "_limit", "_reader", "_stalled", "_takes",
        "counted", "dropped", "room",
    )  # fmt: skip

    def __init__(self, limit_bytes: int, stalled: Callable[[], bool], full: Callable[[], None]) -> None:
        super().__init__()
        self._limit = limit_bytes
        self._stalled = stalled
        self._full = full
        self._average = float(RECORD_BYTES + VALUE_BYTES)
        # Two counters, each written by one side, so that neither needs a lock. Threads that log at once may lose a
        # count, which `take` corrects whenever it finds the queue empty.
        self.counted = 0
        self._counted_taken = 0
        self._reader = 0
        self._takes = 0
        self.dropped = 0
        self.room = self._room()

    def put(self, entry: Entry) -> None:
        """Queue an entry once there is room; drop it while the disk stalls."""
        counted = _counted_bytes(entry)
        if self._is_full(counted) and not self.wait_while(lambda: self._is_full(counted)):
            return
        self.counted += counted
        self.room = self._room()
        self.append(entry)

    def wait_while(self, full: Callable[[], bool], stalled: Callable[[], bool] | None = None) -> bool:
        """Wait for room for one entry; returns False if it must be dropped, which is counted and reported.

        Args:
            full: Whether there is no room.
            stalled: Whether another thread that makes room is stalled.
        """
        takes, since_s = self._takes, time.monotonic()
        while full() and threading.get_ident() != self._reader:
            now_s = time.monotonic()
            if takes != self._takes:
                takes, since_s = self._takes, now_s
            if self._stalled() or (stalled is not None and stalled()) or now_s - since_s >= PATIENCE_S:
                self.dropped += 1
                self._full()
                return False
            time.sleep(PAUSE_S)
        return True

    @property
    def limit_bytes(self) -> int:
        """Bound of what waits."""
        return self._limit

    def put_all(self, entries: Iterable[Entry]) -> None:
        """Queue entries in their order."""
        for entry in entries:
            self.put(entry)

    def take(self) -> list[Entry]:
        """Remove and return what is queued now; for the drain thread."""
        self._reader = threading.get_ident()
        self._takes += 1
        taken = [self.popleft() for _ in range(len(self))]
        if not taken:
            self._counted_taken = self.counted
        else:
            self._counted_taken += sum(map(_counted_bytes, taken))
            weighed = taken[:: len(taken) // _WEIGHED + 1]
            self._average = sum(map(_other_bytes, weighed)) / len(weighed)
        self.room = self._room()
        return taken

    def _is_full(self, counted: int) -> bool:
        many = counted and self._waiting_bytes + counted > self._limit
        return len(self) >= self._room() or bool(many and self)

    @property
    def _waiting_bytes(self) -> int:
        return max(self.counted - self._counted_taken, 0)

    def _room(self) -> int:
        return max(int((self._limit - self._waiting_bytes) / self._average), 1)


class ProgressInbox(Inbox):
    """An inbox that moves communication on at each log call, for strategies that need the training thread."""

    __slots__ = ("_progress",)

    def __init__(
        self, limit_bytes: int, stalled: Callable[[], bool], full: Callable[[], None], progress: Progress
    ) -> None:
        super().__init__(limit_bytes, stalled, full)
        self._progress = progress

    def append(self, entry: Entry) -> None:
        """Queue an entry and move communication on."""
        super().append(entry)
        self._progress()


def open_inbox(limit_bytes: int, stalled: Callable[[], bool], health: Health, progress: Progress | None) -> Inbox:
    """Create the inbox of a session; what it drops is reported."""

    def full() -> None:
        report_full(health, limit_bytes)

    if progress is None:
        return Inbox(limit_bytes, stalled, full)
    return ProgressInbox(limit_bytes, stalled, full, progress)


def _counted_bytes(entry: Entry) -> int:
    """Bytes that are counted one by one: contents, and values of a call with many."""
    if type(entry) is tuple:
        count = len(entry[0])
        return VALUE_BYTES * count if count > FEW_VALUES else 0
    return contents_bytes(entry)


def _other_bytes(entry: Entry) -> int:
    if isinstance(entry, tuple):
        return RECORD_BYTES + (VALUE_BYTES * len(entry[0]) if len(entry[0]) <= FEW_VALUES else 0)
    return size_of(entry.item if isinstance(entry, PendingItem) else entry)
