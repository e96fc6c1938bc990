"""The reducer of one process: opens ranklog's own communicator and runs the rounds, in its own thread.

In: rows and mail from the drain thread. Out: records, on rank 0 to the journal. With one rank there is no thread:
`tick` reduces on the caller's. A communicator that cannot be opened, or breaks, leaves rank 0 to go on alone with
its coverage marked; training never notices.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

from ranklog.capture.health import Health
from ranklog.model.errors import InvalidArgumentError, WorldError
from ranklog.model.place import Place
from ranklog.model.record import Record
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.rounds import Rounds
from ranklog.world.base import Strategy, World
from ranklog.world.single import SeveredWorld, SingleWorld

FIRST_TIMEOUT_S = 60.0
TIMEOUT_S = 30.0
BUSY_S = 0.2
IDLE_S = 1.0
CLOSE_GRACE_S = 2.0


def reduce_timeouts() -> tuple[float, float]:
    """Seconds that the first and the later rounds wait for a rank: 60 and 30, or ``RANKLOG_REDUCE_TIMEOUT``.

    Raises:
        InvalidArgumentError: the variable is no positive number.
    """
    given = os.environ.get("RANKLOG_REDUCE_TIMEOUT")
    if not given:
        return FIRST_TIMEOUT_S, TIMEOUT_S
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e6:
        raise InvalidArgumentError(f"RANKLOG_REDUCE_TIMEOUT={given!r} is not allowed: give seconds above 0")
    return seconds, seconds


class Reducer:
    """Runs rounds for one process.

    Args:
        strategy: Opens the communicator.
        place: This process.
        channel: Name of the communicator, equal on all ranks.
        run_id: The run's id; on other ranks than 0 it may be unknown at first.
        record: Takes records on rank 0.
        health: Takes trouble.
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
    ) -> None:
        self.buffer = Buffer(place.rank)
        self._strategy = strategy
        self._place = place
        self._channel = channel
        self._run_id = run_id
        self._record = record
        self._health = health
        self._first_timeout_s, self._timeout_s = reduce_timeouts()
        self._rounds: Rounds | None = None
        self._early_mail: list[Record] = []
        self._changed = threading.Condition()
        self._in_round = False
        self._rounds_done = 0
        self._closing = False
        self._abandoned = False
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

    def _adopt(self, world: World) -> None:
        with self._changed:
            self._rounds = Rounds(world, self.buffer, run_id=self._run_id)
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

        with self._changed:
            self._changed.wait_for(known, timeout_s)
            return known()

    def _run(self) -> None:
        world: World | None = None
        try:
            world = self._connect()
            self._adopt(world)
            idle = isinstance(world, SeveredWorld) and self._settled()
            if self._rounds is not None and not (idle and self._closing):
                self._meet(self._rounds, quiet=isinstance(world, SeveredWorld))
            if self._rounds is not None and (lost := self._rounds.lost):
                self._health.warn("lost", f"{self._place}: {lost} values did not reach rank 0 before the end")
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
        while not (rounds.finished or (rounds.failed and self._closing) or self._abandoned):
            with self._changed:
                self._in_round = not self._settled()
            self._emit(rounds.step(timeout_s))
            timeout_s = self._timeout_s
            if rounds.failed and not warned:
                warned = True
                self._health.warn("reduce", rounds.failed)
            with self._changed:
                self._in_round = False
                self._rounds_done += 1
                self._changed.notify_all()
            waiting = self.buffer.pending or rounds.mail_pending
            pause_s = BUSY_S if waiting else min(pause_s * 1.5, IDLE_S)
            if not self._closing:
                self._wake.wait(pause_s)
                self._wake.clear()
        self._emit(rounds.step(timeout_s))

    def _emit(self, records: Sequence[Record]) -> None:
        with self._changed:
            if not self._abandoned:
                self._record(records)

    def abandon(self) -> list[Record]:
        """Go on without the other ranks, at the end: this rank's own rows, with their coverage."""
        with self._changed:
            self._abandoned = True
        alone = Rounds(SeveredWorld(self._place, "the other ranks did not close in time"), self.buffer)
        alone.request_close()
        return alone.step(0.0)

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
            if limit is not None and time.monotonic() >= limit:
                if self.buffer.pending or self._early_mail or not self._closing:
                    self._health.warn(
                        "reduce",
                        f"{self._place}: ranks cannot be reached: {reason}. Rank 0 goes on alone, coverage is marked. "
                        "Open the logger on every rank, or set log_on_workers and reduce for one rank.",
                    )
                return SeveredWorld(self._place, reason)
            self._wake.wait(0.05)

    def flush(self, timeout_s: float) -> bool:
        """Have everything added so far reduced; whether that happened in time."""
        self.buffer.close_all()
        if self._thread is None:
            return True
        self._wake.set()
        with self._changed:
            if self._settled() and not self._in_round:
                return True
            # Rows leave the buffer in the middle of a round, before their record is there: its end is what counts.
            before = self._rounds_done
            return self._changed.wait_for(
                lambda: self._done or (self._rounds_done > before and self._settled()), timeout_s
            )

    def _settled(self) -> bool:
        if self._rounds is None:
            return not self.buffer.pending and not self._early_mail
        return not self.buffer.pending and not self._rounds.mail_pending

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
        with self._changed:
            return self._changed.wait_for(lambda: self._done, timeout_s)
