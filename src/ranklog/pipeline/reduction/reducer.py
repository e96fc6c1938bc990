"""Runs the rounds of one process over ranklog's own communicator, in a thread.

In: rows and mail from the drain thread. Out: records, on rank 0 into the inbox. With one rank there is no thread, and
the drain thread reduces by `tick`. When a round fails, the ranks that answer continue as a new generation. If the
communicator cannot be opened, or cannot regroup, rank 0 continues alone with its coverage marked, and every rank writes
what it holds to its spill file. Training never notices.

The reducer thread owns the world, the rounds and the spill file; `Acknowledgement` tells other threads how far it came.
`flush` on a rank above 0 waits for rank 0's word: each round says up to which round rank 0's disk has everything.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from ranklog.abc import Strategy, World
from ranklog.model.facts import RankFacts
from ranklog.model.losses import LOST
from ranklog.model.place import Place
from ranklog.model.record import Record
from ranklog.pipeline.contents import RunDirectory
from ranklog.pipeline.reduction.absent import AbsentRanks
from ranklog.pipeline.reduction.acknowledgement import Acknowledgement
from ranklog.pipeline.reduction.connecting import Connecting
from ranklog.pipeline.reduction.healing import Healing
from ranklog.pipeline.reduction.merge import SpillSink
from ranklog.pipeline.reduction.pace import BUSY_S, next_pause, reduce_timeouts
from ranklog.pipeline.reduction.shutdown import join_at_exit
from ranklog.process.warnings import Health
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.round import Rounds
from ranklog.world.progress import progress_of
from ranklog.world.shutdown import PROCESS_ENDING
from ranklog.world.single import SeveredWorld, SingleWorld

PROGRESS_TIMEOUT_S = 600.0
ASKED_S = 0.05
"""Pause between rounds while a rank waits for rank 0's word."""


class Reducer:
    """Runs rounds for one process.

    Args:
        strategy: Opens the communicator.
        place: This process.
        channel: Name of the communicator, equal on all ranks.
        run_id: The run's id; on other ranks than 0 it may be unknown at first.
        record: Takes records on rank 0.
        request_sync: On rank 0: has the drain thread sync, and then call `confirm`.
        health: Takes trouble.
        run_dir: The run directory.
        greeting: Records that this rank sends to rank 0 first.

    Attributes:
        handed_over: On rank 0: the last round whose records were given to ``record``.
    """

    def __init__(
        self,
        strategy: Strategy,
        place: Place,
        *,
        channel: str,
        run_id: str | None,
        record: Callable[[Iterable[Record]], None],
        request_sync: Callable[[], None],
        health: Health,
        run_dir: RunDirectory,
        greeting: Sequence[Record] = (),
    ) -> None:
        self._buffer = Buffer(place.rank)
        self._greeting = greeting
        self._spill = SpillSink(place.rank, run_dir.reach)
        self._place = place
        self._run_id = run_id
        self._record = record
        self._request_sync = request_sync
        self._health = health
        self._first_timeout_s, self._timeout_s = reduce_timeouts()
        self._progress = progress_of(strategy)
        if self._progress is not None:
            # A rank answers only while its training thread logs, which says nothing about whether it is alive.
            self._first_timeout_s = self._timeout_s = max(self._first_timeout_s, PROGRESS_TIMEOUT_S)
        self._connecting = Connecting(
            strategy,
            place,
            channel,
            health,
            pending=lambda: self._buffer.pending or bool(self._mail),
            closing=lambda: self._closing,
            abandoned=lambda: self._abandoned,
            pause=self._pause,
        )
        self._healing = Healing(is_main=place.is_main, world_size=place.world_size, timeout_s=self._timeout_s)
        self._absent = AbsentRanks(place, health, run_dir.known_path, self._timeout_s)
        self._mail: deque[Record] = deque()  # not yet given to the rounds
        self._state = Acknowledgement(place.is_main, self._spill, self._progress)
        self._sync_requested = False
        self._closing = False
        self._abandoned = False
        self._emitting = threading.Lock()  # between the reducer thread and the drain thread, which abandons it
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.handed_over = 0

    def start(self) -> None:
        """Begin; with several ranks this starts the thread."""
        if self._place.world_size == 1:
            self._state.rounds = Rounds(SingleWorld(self._place), self._buffer, run_id=self._run_id, store=self._spill)
            return
        self._thread = threading.Thread(target=self._run, name="ranklog-reducer", daemon=True)
        self._thread.start()
        join_at_exit(self._thread)

    def add(self, values: Mapping[str, float], *, step: int, op: str, to: int, time_ns: int, weight: float) -> None:
        """Add one sample of each name."""
        self._buffer.add(values, step=step, op=op, to=to, time_ns=time_ns, weight=weight)
        self._state.given += 1  # after it is there, so that a round which counts it also has it

    def post(self, records: Sequence[Record]) -> None:
        """Send ready records to rank 0; on other ranks than that."""
        self._mail.extend(records)
        self._state.given += 1

    def close_rows(self) -> None:
        """Close the rows of the present step, so that the next round takes them."""
        self._buffer.close_all()

    def tick(self) -> list[Record]:
        """With one rank: reduce what is complete."""
        alone = self._state.rounds if self._thread is None else None
        return [] if alone is None else alone.step(self._timeout_s)

    def confirm(self, number: int, *, kept: bool) -> None:
        """On rank 0: the disk has, or has refused, what was handed over up to a round."""
        if self._state.rounds is None or self._thread is None:
            return
        self._state.rounds.confirm(number, kept=kept)
        self._sync_requested = False
        if self._state.rounds.agreed.unanswered:
            self._wake.put(None)

    def stop_waiting(self) -> bool:
        """Use no more records of the rounds; False while the thread hands some over."""
        if not self._emitting.acquire(blocking=False):
            return False
        self._abandoned = True
        self._emitting.release()
        return True

    def abandon(self) -> list[Record]:
        """After `stop_waiting`, continue without the other ranks: this rank's own rows, with their coverage."""
        rounds = self._state.rounds or Rounds(SeveredWorld(self._place, ""), self._buffer)
        return rounds.abandon("the other ranks did not close in time")

    @property
    def has_met(self) -> bool:
        """Whether the ranks have met, or this rank has given up to meet them."""
        return self._state.rounds is not None

    @property
    def rendezvous(self) -> str | None:
        """Name of the spill files that were begun, None where there are none."""
        return None if self._state.rounds is None else self._state.rounds.rendezvous

    @property
    def lost(self) -> int:
        """Values and records of this rank that will never be written."""
        return 0 if self._state.rounds is None else self._state.rounds.lost

    @property
    def done(self) -> bool:
        """Whether the last round is over and everything of this rank was reduced."""
        return self._thread is None or (self._state.done and self._settled())

    def run_id(self, deadline_s: float) -> str | None:
        """The run's id as rank 0 sent it, or None if it did not come in time."""

        def known() -> str | None:
            rounds = self._state.rounds
            return self._run_id or (None if rounds is None else rounds.run_id)

        self._state.changed.wait_for(known, deadline_s, self._progress)
        return known()

    def silent_ranks(self) -> list[int] | None:
        """After a break, on rank 0: ranks that have kept nothing in the time they have, None while it runs."""
        return self._absent.silent(self.rendezvous)

    def name_silent(self) -> None:
        """After a break, on rank 0: report once which ranks left no sign."""
        self._absent.report(self.rendezvous)

    def flush(self, deadline_s: float, *, helping: bool = True) -> bool:
        """Wait until what was given so far is reduced and kept; see `Acknowledgement.wait`."""
        if self._thread is None:
            return True
        return self._state.wait(deadline_s, wake=lambda: self._wake.put(None), settled=self._settled, helping=helping)

    def begin_close(self) -> None:
        """Close all rows and take part in the last rounds, until all ranks are done or the process ends."""
        self._buffer.close_all()
        self._closing = True
        self._healing.begin_close()
        self._wake.put(None)

    # From here on: in the reducer thread.

    def _run(self) -> None:
        world: World | None = None
        rounds: Rounds | None = None
        try:
            world = self._connecting.join(self._first_timeout_s, self._timeout_s)
            try:
                rounds = Rounds(world, self._buffer, run_id=self._run_id, store=self._spill)
            except Exception as error:  # what a strategy returned is no world
                world = self._connecting.alone(error)
                rounds = Rounds(world, self._buffer, run_id=self._run_id, store=self._spill)
            severed = isinstance(world, SeveredWorld)
            if not severed:
                rounds.post(self._greeting)
            self._state.rounds = rounds
            self._state.changed.changed()
            if not (severed and self._settled() and self._closing):
                self._meet(rounds, quiet=severed)
            rounds.end()
            if lost := rounds.lost:
                self._health.warn(LOST, f"{self._place}: {lost} values did not reach rank 0 before the end")
        except Exception as error:  # whoever waits for this thread must learn that it is gone
            self._health.warn("reduce", f"{self._place}: reduction ended: {error!r}")
        finally:
            # Before the others are told: the process may end as soon as they know, and a thread that is then inside
            # the destructor of a group crashes it.
            if (last := world if rounds is None else rounds.world) is not None:
                last.close()
            self._state.end()

    def _meet(self, rounds: Rounds, *, quiet: bool) -> None:
        pause_s = BUSY_S
        timeout_s = self._first_timeout_s
        warned = quiet  # a world that could not be opened was warned about when it was tried
        while not (rounds.finished or (rounds.failed and self._closing) or self._abandoned or PROCESS_ENDING.is_set()):
            self._step(rounds, timeout_s)
            timeout_s = self._timeout_s
            ended_s = time.monotonic()
            if not warned and (trouble := rounds.trouble):
                warned = True
                self._health.warn("reduce", trouble)
            if rounds.broken and self._healing.heal(rounds):
                self._state.rejoined()
                pause_s = BUSY_S
            self._absent.update(rounds.missing, ended_s)
            self.name_silent()
            waiting = self._buffer.pending or rounds.records_pending or bool(self._mail)
            pause_s = next_pause(pause_s, waiting=waiting, cost_s=rounds.cost_s)
            if not self._closing:
                asked = rounds.agreed.unanswered and not rounds.failed
                self._pause(min(pause_s, max(ASKED_S, rounds.cost_s)) if asked else pause_s)
        if not self._abandoned:
            rounds.give_up()
        self._step(rounds, timeout_s)

    def _step(self, rounds: Rounds, timeout_s: float) -> None:
        given = self._state.begin_step(rounds)
        closing = self._closing  # read first, so that everything posted before it is sent
        while self._mail:
            rounds.post([self._mail[0]])
            self._mail.popleft()
        if closing:
            rounds.request_close()
        self._emit(rounds.step(timeout_s))
        self.handed_over = rounds.number
        self._state.end_step(rounds, given, settled=self._settled(), closing=closing)
        if self._place.is_main and rounds.agreed.unanswered and not rounds.failed and not self._sync_requested:
            self._sync_requested = True
            self._request_sync()

    def _emit(self, records: Sequence[Record]) -> None:
        self._absent.learn_names(record for record in records if isinstance(record, RankFacts))
        with self._emitting:
            if not self._abandoned:
                self._record(records)

    def _settled(self) -> bool:
        waiting = self._buffer.pending or bool(self._mail)
        return not waiting and (self._state.rounds is None or not self._state.rounds.records_pending)

    def _pause(self, seconds: float) -> None:
        """Wait so long, or until something is to be done."""
        with suppress(Empty):
            self._wake.get(timeout=seconds)
            while True:
                self._wake.get(block=False)
