"""The one owner of the journal: a thread that drains the inbox, stores contents and appends records.

Everything else gives this thread a command and waits with a deadline: `flush`, signals, the acknowledgement of other
ranks and closing. The thread owns the record builder and the recorder; nobody else calls them. It waits for the disk
and for devices only, never for another rank or a backend.

Guarantees: commands run in the order in which they came, each after what was logged before it. An urgent one also runs
while a sync waits for the disk: a launcher may kill the process 0.25 s after SIGTERM. `call` takes no lock and returns
at its deadline whatever the disk does; a command that comes too late for its caller still runs. After `end` commands
are refused at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from ranklog.model.losses import DROPPED
from ranklog.model.record import Event, Record
from ranklog.pipeline.inbox import Inbox
from ranklog.pipeline.recorder import Recorder
from ranklog.pipeline.records import RecordBuilder
from ranklog.pipeline.reduction.reducer import Reducer
from ranklog.pipeline.waiting import DiskCalls, Once, Reply, Urgent
from ranklog.process.warnings import Health
from ranklog.world.progress import Progress

T = TypeVar("T")

BUSY_S = 0.1
IDLE_S = 0.5
SYNC_EVERY_S = 1.0
TELL_EVERY_S = 1.0
TOUCH_EVERY_S = 60.0
SERVE_S = 0.005
GRACE_S = 1.0
"""Seconds to wait past a deadline for a disk that still answers: its calls take milliseconds."""
GRACE_CHECK_S = 0.02


class Drain:
    """The thread and its commands.

    Args:
        inbox: What it drains.
        builder: Turns entries into records.
        emit: Takes records of this rank: the journal on rank 0, the mail to rank 0 elsewhere.
        recorder: Writes the journal; None on other ranks than 0.
        reducer: Reduces values over ranks.
        health: Takes trouble.
        rank: Named in the trouble of other ranks; None on rank 0.
        disk: Notes how long disk calls take.
        each_pass: Called after each pass with the number of entries, for example to start samples that are due.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        builder: RecordBuilder,
        emit: Callable[[Sequence[Record]], None],
        recorder: Recorder | None,
        reducer: Reducer,
        health: Health,
        disk: DiskCalls,
        rank: int | None,
        each_pass: Callable[[int], None],
    ) -> None:
        self._inbox = inbox
        self._builder = builder
        self._emit = emit
        self._recorder = recorder
        self._reducer = reducer
        self._health = health
        self._disk = disk
        self._rank = rank
        self._each_pass = each_pass
        self._commands: SimpleQueue[tuple[Callable[[], object], Reply[object]]] = SimpleQueue()
        self._urgent = Urgent()
        self._ended = False
        self._dropped = 0
        self._lost_before = 0
        self._synced_s = self._touched_s = self._told_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="ranklog-drain", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, command: Callable[[], T], deadline_s: float, progress: Progress | None = None) -> T | None:
        """Have the thread run a command; returns its result, or None if it did not come in time or failed."""
        return self.wait_for(self.post(command), deadline_s, progress)

    def call_urgently(self, command: Callable[[], T], deadline_s: float) -> T | None:
        """As `call`, but without waiting for a sync that the disk has not answered yet."""
        reply: Reply[T] = Reply()
        once = Once(lambda: self._answer(command, cast("Reply[object]", reply)))
        self._urgent.post(once)
        self.post(once)
        return self.wait_for(reply, deadline_s)

    def post(self, command: Callable[[], T]) -> Reply[T]:
        """Have the thread run a command soon; never waits."""
        reply: Reply[T] = Reply()
        self._commands.put((command, cast("Reply[object]", reply)))
        if self._ended:
            self._refuse_waiting()
        return reply

    def wait_for(self, reply: Reply[T], deadline_s: float, progress: Progress | None = None) -> T | None:
        """Wait for a result; past the deadline only while the disk answers, and `GRACE_S` at most."""
        result = reply.wait(deadline_s, progress)
        end_s = max(deadline_s, time.monotonic()) + GRACE_S
        while not reply.given and not self._disk.stalled and time.monotonic() < end_s:
            result = reply.wait(time.monotonic() + GRACE_CHECK_S, progress)
        return result

    def request_sync(self) -> None:
        """Have the thread sync soon; for the reducer, whose other ranks wait for it."""
        self.post(self.sync)

    @property
    def ended(self) -> bool:
        """Whether the thread takes no more commands."""
        return self._ended

    @property
    def lost(self) -> int:
        """Items and records that are lost so far."""
        records = self._inbox.dropped if self._recorder is None else self._recorder.lost
        return self._builder.dropped + records

    # From here on: for commands, which run in the thread.

    def drain(self) -> int:
        """Turn what is queued into rows and records; returns how many entries there were."""
        drained = self._builder.run_once()
        self._count_dropped()
        if reduced := self._reducer.tick():
            self._emit(reduced)
        return drained

    def close_rows(self) -> bool:
        """Drain, and close the rows of the present step, so that they are reduced."""
        self.drain()
        self._reducer.close_rows()
        self.drain()
        return True

    def sync(self) -> bool:
        """Drain, and ask the disk to keep it; True if everything is kept."""
        handed_over = self._reducer.handed_over  # read first: all of it is in the inbox by now
        self.drain()
        kept = (self._recorder is None or self._recorder.sync(self._urgent.wait_for_disk)) and not self._builder.waiting
        # Other ranks have no counts of their own: a loss answers them once.
        whole, self._lost_before = self.lost == self._lost_before, self.lost
        self._reducer.confirm(handed_over, kept=kept and whole)
        return kept

    def emit(self, records: Sequence[Record]) -> None:
        """Journal records, or send them to rank 0, after what was logged before."""
        self.drain()
        if records:
            self._emit(records)

    def serve(self, until: Callable[[], object], deadline_s: float) -> bool:
        """Continue to drain and to run commands until something holds; returns whether it came in time."""
        while not until():
            if time.monotonic() >= deadline_s:
                return False
            self._run_next(SERVE_S)
            self.drain()
        return True

    def stop(self) -> None:
        """End the thread, if it was started, and wait for that; for an opening that fails, in another thread."""
        self.end()
        self._commands.put((lambda: None, Reply()))  # wakes the thread
        if self._thread.is_alive():
            self._thread.join()

    def end(self) -> None:
        """Take no more commands; the thread ends after the present one."""
        self._ended = True
        self._refuse_waiting()

    def _run(self) -> None:
        pause_s = BUSY_S
        while not self._ended:
            self._run_next(pause_s)
            try:
                pause_s = BUSY_S if self._pass() else min(pause_s * 1.5, IDLE_S)
            except Exception as error:  # this thread must live as long as the run
                self._health.warn("drain", f"the drain thread continues after {error!r}")

    def _run_next(self, pause_s: float) -> None:
        """Run the next command, waiting for one for a while."""
        try:
            command, reply = self._commands.get(timeout=pause_s)
        except Empty:
            return
        self._answer(command, reply)

    def _answer(self, command: Callable[[], object], reply: Reply[object]) -> None:
        """Run a command, whatever it raises, and give its result."""
        result: object = None
        try:
            result = command()
        except Exception as error:  # as in `_run`
            self._health.warn("drain", f"the drain thread continues after {error!r}")
        finally:
            reply.give(result)

    def _refuse_waiting(self) -> None:
        while True:
            try:
                _, reply = self._commands.get(block=False)
            except Empty:
                return
            reply.give(None)

    def _pass(self) -> int:
        if self._ended:  # by the last command
            return 0
        drained = self.drain()
        self._each_pass(drained)
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_EVERY_S and (news := self._health.news(self._rank)):
            self._told_s = now_s
            self._emit(news)  # while the run lives: it may be killed
        if self._recorder is not None and now_s - self._synced_s >= SYNC_EVERY_S:
            self._synced_s = now_s
            self.sync()
        if self._recorder is not None and now_s - self._touched_s >= TOUCH_EVERY_S:
            self._touched_s = now_s
            self._recorder.touch()
        return drained

    def _count_dropped(self) -> None:
        """Have the run say how many entries the inbox dropped."""
        new, self._dropped = self._inbox.dropped - self._dropped, self._inbox.dropped
        if not new:
            return
        if self._recorder is not None:
            self._recorder.drop(new)
        else:
            text = f"{new} records were lost while this rank could not store what it logged"
            self._emit([Event("warning", DROPPED, text, time.time_ns(), self._rank)])
