"""The reducer of one process: opens ranklog's own communicator and runs the rounds, in its own thread.

In: rows and mail from the drain thread. Out: records, on rank 0 to the journal. With one rank there is no thread:
`tick` reduces on the caller's. A communicator that cannot be opened, or breaks, leaves rank 0 to go on alone with
its coverage marked; after a break every rank keeps what it has in its spill file. Training never notices.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from ranklog.abc import Strategy, World
from ranklog.model.errors import WorldError
from ranklog.model.facts import RankFacts
from ranklog.model.losses import LOST, SILENT
from ranklog.model.place import Place
from ranklog.model.record import Record
from ranklog.pipeline.merge import SpillSink, silent_ranks
from ranklog.pipeline.pace import BUSY_S, next_pause, reduce_timeouts
from ranklog.pipeline.progress import wait
from ranklog.process.health import Health
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.round import Rounds
from ranklog.world.progress import progress_of
from ranklog.world.shutdown import PROCESS_ENDING
from ranklog.world.single import SeveredWorld, SingleWorld

PROGRESS_TIMEOUT_S = 600.0
CLOSE_GRACE_S = 2.0
END_S = 2.0
NOTICE_S = 2.0
"""What a rank that cannot talk needs, after its time limit, to begin its spill file."""


_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def _end_threads() -> None:
    """Have the threads leave torch's code: the end of the interpreter takes the process down where it meets one there.

    Registered before the loggers' own hook, which closes what is still open, and so called after it.
    """
    PROCESS_ENDING.set()
    for thread in list(_threads):
        thread.join(END_S)


atexit.register(_end_threads)


class Reducer:
    """Runs rounds for one process.

    Args:
        strategy: Opens the communicator.
        place: This process.
        channel: Name of the communicator, equal on all ranks.
        run_id: The run's id; on other ranks than 0 it may be unknown at first.
        record: Takes records on rank 0.
        health: Takes trouble.
        directory: Where run directories lie.
        greeting: What this rank tells rank 0 once they can talk.
    """

    def __init__(
        self,
        strategy: Strategy,
        place: Place,
        *,
        channel: str,
        run_id: str | None,
        record: Callable[[Sequence[Record]], None],
        health: Health,
        directory: Path,
        greeting: Sequence[Record] = (),
    ) -> None:
        self.buffer = Buffer(place.rank)
        self._directory = directory
        self._greeting = greeting
        self._sink = SpillSink(place, self._run_dir)
        self._strategy = strategy
        self._place = place
        self._channel = channel
        self._run_id = run_id
        self._record = record
        self._health = health
        self._first_timeout_s, self._timeout_s = reduce_timeouts()
        self._progress = progress_of(strategy)
        if self._progress is not None:
            # A rank answers only while its training thread logs, which says nothing about whether it is alive.
            self._first_timeout_s = self._timeout_s = max(self._first_timeout_s, PROGRESS_TIMEOUT_S)
        self._rounds: Rounds | None = None
        self._early_mail: list[Record] = []
        self._changed = threading.Condition()
        self._in_round = False
        self._rounds_done = 0
        self._closing = False
        self._abandoned = False
        self._failed_s: float | None = None
        self._named = False
        self._names: dict[int, str] = {}
        self._done = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; with several ranks this starts the thread."""
        if self._place.world_size == 1:
            self._adopt(SingleWorld(self._place))
            return
        self._thread = threading.Thread(target=self._run, name="ranklog-reducer", daemon=True)
        self._thread.start()
        _threads.add(self._thread)

    def _adopt(self, world: World) -> None:
        with self._changed:
            self._rounds = Rounds(world, self.buffer, run_id=self._run_id, store=self._sink)
            if self._early_mail:
                self._rounds.post(self._early_mail)
                self._early_mail = []
            if self._closing:
                self._rounds.request_close()
            self._changed.notify_all()

    def post(self, records: Sequence[Record]) -> None:
        """Send ready records to rank 0. For the drain thread of other ranks."""
        with self._changed:
            if self._rounds is None:
                self._early_mail.extend(records)
            else:
                self._rounds.post(records)

    def tick(self) -> None:
        """Reduce what is complete, where there is one rank. For one thread at a time."""
        if self._thread is None and self._rounds is not None:
            self._record(self._rounds.step(self._timeout_s))

    def run_id(self, timeout_s: float) -> str | None:
        """The run's id as rank 0 told it, or None when it did not in time."""

        def known() -> str | None:
            return self._run_id or (self._rounds.run_id if self._rounds is not None else None)

        wait(self._changed, known, timeout_s, self._progress)
        return known()

    def _run_dir(self) -> Path | None:
        known = self.run_id(0.0)
        return None if known is None else self._directory / known

    def _run(self) -> None:
        world: World | None = None
        try:
            world = self._join()
            if self._rounds is not None and not isinstance(world, SeveredWorld):
                self._rounds.post(self._greeting)
            idle = isinstance(world, SeveredWorld) and self._settled()
            if self._rounds is not None and not (idle and self._closing):
                self._meet(self._rounds, quiet=isinstance(world, SeveredWorld))
            if self._rounds is not None and self._rounds.failed:
                self._rounds.end()
            if self._rounds is not None and (lost := self._rounds.lost):
                self._health.warn(LOST, f"{self._place}: {lost} values did not reach rank 0 before the end")
        except Exception as error:  # whoever waits for this thread must learn that it is gone
            self._health.warn("reduce", f"{self._place}: reduction ended: {error!r}")
        finally:
            # Before the others are told: the process may end as soon as they know, and a thread that is then inside
            # the destructor of a group takes it down.
            if world is not None:
                world.close()
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _meet(self, rounds: Rounds, *, quiet: bool) -> None:
        pause_s = BUSY_S
        timeout_s = self._first_timeout_s
        warned = quiet  # a world that could not be opened was warned about when it was tried
        while not (rounds.finished or (rounds.failed and self._closing) or self._abandoned or PROCESS_ENDING.is_set()):
            with self._changed:
                self._in_round = not self._settled()
            self._emit(rounds.step(timeout_s))
            timeout_s = self._timeout_s
            if rounds.failed:
                self._failed_s = self._failed_s or time.monotonic()
                if not warned:
                    warned = True
                    self._health.warn("reduce", rounds.failed)
                self.name_silent()
            with self._changed:
                self._in_round = False
                self._rounds_done += 1
                self._changed.notify_all()
            waiting = self.buffer.pending or rounds.records_pending
            pause_s = next_pause(pause_s, waiting=waiting, cost_s=rounds.cost_s)
            if not self._closing:
                self._wake.wait(pause_s)
                self._wake.clear()
        self._emit(rounds.step(timeout_s))

    def _emit(self, records: Sequence[Record]) -> None:
        self._names.update((record.rank, str(record)) for record in records if isinstance(record, RankFacts))
        with self._changed:
            if not self._abandoned:
                self._record(records)

    def abandon(self) -> list[Record]:
        """Go on without the other ranks, at the end: this rank's own rows, with their coverage."""
        with self._changed:
            self._abandoned = True
            rounds = self._rounds
        if rounds is None:
            rounds = Rounds(SeveredWorld(self._place, ""), self.buffer)
        return rounds.abandon("the other ranks did not close in time")

    @property
    def meeting(self) -> str | None:
        """Name of the spill files that were begun, None where there are none."""
        return None if self._rounds is None else self._rounds.meeting

    def silent_ranks(self) -> list[int] | None:
        """After a break, on rank 0: ranks that have kept nothing in the time they have for it, None while it runs."""
        run_dir, meeting = self._run_dir(), self.meeting
        if run_dir is None or meeting is None:
            return []
        try:
            silent = silent_ranks(run_dir, meeting, self._place.world_size)
        except OSError:  # a disk that refuses tells nothing
            return None
        waited = time.monotonic() - (self._failed_s or 0.0) >= self._timeout_s + NOTICE_S
        return silent if waited or not silent else None

    def name_silent(self) -> None:
        """Tell once which ranks are gone."""
        if self._named or self.meeting is None or not self._place.is_main or (silent := self.silent_ranks()) is None:
            return
        self._named = True
        if silent:
            named = ", ".join(self._names.get(rank, f"rank {rank}") for rank in silent[:8])
            named += " and others" if silent[8:] else ""
            text = (
                f"no sign of {named} since the ranks can no longer talk: ended or hung; what they had not sent is lost"
            )
            self._health.warn(SILENT, text)

    def _join(self) -> World:
        """Adopt a world; one that refuses everything where the strategy raises, which may be anybody's code."""
        try:
            world = self._connect()
            self._adopt(world)
        except BaseException as error:  # asyncio.CancelledError is no Exception, and this thread must not end here
            reason = f"strategy {self._strategy.name!r} raised {error!r}"
            self._warn_alone(reason)
            world = SeveredWorld(self._place, reason)
            self._adopt(world)
        return world

    def _warn_alone(self, reason: str) -> None:
        self._health.warn(
            "reduce",
            f"{self._place}: ranks cannot be reached: {reason}. Rank 0 goes on alone, coverage is marked. "
            "Open the logger on every rank, or set log_on_workers and reduce for one rank.",
        )

    def _connect(self) -> World:
        """Wait for a group and for all ranks; a world that refuses everything when they do not come."""
        deadline: float | None = None
        close_deadline: float | None = None
        limit: float | None
        while True:
            now = time.monotonic()
            if self._closing and close_deadline is None:
                pending = (self.buffer.pending or self._early_mail) and self._strategy.ready()
                close_deadline = now + (self._timeout_s if pending else CLOSE_GRACE_S)
            if self._strategy.ready():
                deadline = deadline or now + self._first_timeout_s
                limit = min(t for t in (deadline, close_deadline) if t is not None)
                try:
                    return self._strategy.connect(channel=self._channel, timeout_s=min(limit - now, 1.0))
                except WorldError as error:
                    reason = str(error)
            else:
                limit = close_deadline
                reason = "no process group was initialised (torch.distributed.init_process_group)"
            if PROCESS_ENDING.is_set() or self._abandoned:
                return SeveredWorld(self._place, reason)
            if limit is not None and time.monotonic() >= limit:
                if self.buffer.pending or self._early_mail or not self._closing:
                    self._warn_alone(reason)
                return SeveredWorld(self._place, reason)
            self._wake.wait(0.05)

    def flush(self, timeout_s: float, *, helping: bool = True) -> bool:
        """Have everything added so far reduced; whether that happened in time.

        Args:
            timeout_s: How long to wait at most.
            helping: Whether the caller may move communication on: only the training thread may.
        """
        self.buffer.close_all()
        if self._thread is None:
            return True
        self._wake.set()
        with self._changed:
            if self._settled() and not self._in_round:
                return True
            # Rows leave the buffer in the middle of a round, before their record is there: its end is what counts.
            before = self._rounds_done
        came = wait(
            self._changed,
            lambda: self._done or (self._rounds_done > before and self._settled()),
            timeout_s,
            self._progress if helping else None,
        )
        return came and (not self._done or self._settled())

    @property
    def lost(self) -> int:
        """Values and records of this rank that will never be written."""
        return 0 if self._rounds is None else self._rounds.lost

    def sync(self) -> bool:
        """Put on disk what this rank keeps since the ranks can no longer talk; whether that worked."""
        return self._sink.sync()

    def _settled(self) -> bool:
        if self._rounds is None:
            return not self.buffer.pending and not self._early_mail
        return not self.buffer.pending and not self._rounds.records_pending

    def close(self, timeout_s: float) -> bool:
        """Reduce the rest together with the other ranks; whether they all came in time.

        The thread goes on answering the others' rounds after that, until they are done or the process ends.
        """
        self.buffer.close_all()
        with self._changed:
            self._closing = True
            if self._rounds is not None:
                self._rounds.request_close()
        if self._thread is None:
            return True
        self._wake.set()
        return wait(self._changed, lambda: self._done, timeout_s, self._progress) and self._settled()
