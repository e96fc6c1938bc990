"""One open run in one process: builds everything outside the training thread, and owns it.

There is an inbox, the drain thread, a background worker, samplers, and the reducer thread where there are several
ranks; on rank 0 also the journal's recorder and the forwarder. `ranklog.pipeline.drain` says who owns what. Opening
that fails undoes what it did. `flush` and closing return at their deadline while the disk stalls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack

from ranklog.forwarding.supervisor import Supervisor
from ranklog.job.facts import rank_facts
from ranklog.model.config import SessionConfig
from ranklog.model.record import Event, Status
from ranklog.observe.sampler import NodeSamplers, follow_mlflow
from ranklog.pipeline.backlog import buffer_bytes
from ranklog.pipeline.closing import Closing
from ranklog.pipeline.contents import ContentStore, RunDirectory
from ranklog.pipeline.drain import Drain
from ranklog.pipeline.ending import RunEnd, ending_now
from ranklog.pipeline.flushing import Flushing
from ranklog.pipeline.gate import Gate
from ranklog.pipeline.inbox import open_inbox
from ranklog.pipeline.opening import ClaimedRun, TaskCheck, claim, collect_facts
from ranklog.pipeline.parts import Parts
from ranklog.pipeline.recorder import Recorder
from ranklog.pipeline.records import RecordBuilder
from ranklog.pipeline.reduction.reducer import Reducer
from ranklog.pipeline.sink import SessionSink
from ranklog.pipeline.waiting import DiskCalls
from ranklog.process.blackbox import BlackBox
from ranklog.process.warnings import Health
from ranklog.world.progress import progress_of
from ranklog.world.strategies import resolve_strategy


class Session:
    """One open run of one process.

    Args:
        config: Configuration from the logger.
        rank: Rank given by the user; None finds it.

    Attributes:
        parts: Everything that flushing and closing need.
        sink: Where items and observers put their records.
        inbox: Where the logger puts samples.
        samplers: Sample the node.
        resumed: Whether an earlier attempt wrote this run.
        opened_s: Monotonic time at which it was opened.

    Raises:
        RanklogError: an argument or variable is not allowed; `ranklog.model.errors` has the kinds.
        OSError: the run directory cannot be written.
    """

    def __init__(self, config: SessionConfig, rank: int | None = None) -> None:
        self.config = config
        self.strategy = resolve_strategy(config.strategy, rank)
        self.place = self.strategy.place()
        if (prepare := getattr(self.strategy, "prepare", None)) is not None:
            prepare()
        self.health = Health()
        self.opened_s = time.monotonic()
        self._disk = DiskCalls()
        self._limit_bytes = buffer_bytes()
        self.inbox = open_inbox(self._limit_bytes, self._is_stalled, self.health, progress_of(self.strategy))
        self._run_dir = RunDirectory(self.place, config.directory, ask_run_id=self._ask_run_id, met=self._has_met)
        self.sink = SessionSink(self.place, self._run_dir, self.inbox, self.health)
        self.samplers = NodeSamplers(self.sink, self.opened_s)
        self._hooks: list[Callable[[], None]] = [self.samplers.stop]
        self._tasks = TaskCheck(self.strategy, self.health)
        self._supervisor: Supervisor | None = None
        self._end: RunEnd | None = None
        with ExitStack() as undo:
            run = claim(config, self.place, undo) if self.place.is_main else None
            self._run_dir.known_run_id = config.run_id if run is None else run.run_dir.name
            self.resumed = run is not None and run.attempt.attempt > 0
            self.parts = self._build(run, undo)
            self._closing = Closing(self.parts)
            self._flushing = Flushing(self.parts)
            self._start(run, undo)
            undo.pop_all()

    def _build(self, run: ClaimedRun | None, undo: ExitStack) -> Parts:
        place, health, black_box = self.place, self.health, BlackBox(self.place)
        me = rank_facts(place)
        recorder: Recorder | None = None
        if run is not None:
            limit = self._limit_bytes
            recorder = Recorder(
                run.run_dir, run.attempt, wake=self._wake, health=health, limit_bytes=limit, disk=self._disk
            )
            undo.callback(recorder.discard)
            recorder.write([me])
        self._reducer = Reducer(
            self.strategy,
            place,
            channel=self.config.channel,
            run_id=self._run_dir.known_run_id,
            record=self.inbox.put_all,
            request_sync=self._request_sync,
            health=health,
            run_dir=self._run_dir,
            greeting=() if place.is_main else [me],
        )
        emit = self._reducer.post if recorder is None else recorder.write
        builder = RecordBuilder(
            self.inbox,
            rows=self._reducer,
            emit=emit,
            store=ContentStore(self._run_dir, self._disk).store,
            health=health,
            rank=place.rank,
            shared=Gate(self.config.specs, rank=place.rank, world_size=place.world_size).shared,
            last=black_box.values,
            limit_bytes=self._limit_bytes,
        )
        self._drain = Drain(
            self.inbox,
            builder=builder,
            emit=emit,
            recorder=recorder,
            reducer=self._reducer,
            health=health,
            disk=self._disk,
            rank=None if place.is_main else place.rank,
            each_pass=self._after_pass,
        )
        made = (black_box, self._reducer, builder, recorder, self._drain, progress_of(self.strategy))
        return Parts(place, health, self.sink, self.samplers, *made)

    def _start(self, run: ClaimedRun | None, undo: ExitStack) -> None:
        """Start the threads; nothing after the reducer's raises."""
        undo.callback(self._drain.stop)  # first: Ctrl-C may come when the thread is just started
        self._drain.start()
        follow_mlflow(self.samplers, self.sink, self.config.specs, os.environ)
        self._reducer.start()
        if run is not None:
            run.remember()
            self._supervisor = Supervisor(self.config, run.run_dir, self.health)
            self._closing.facts = collect_facts(self.inbox, self.place, self.health)

    def _wake(self) -> None:
        if self._supervisor is not None:
            self._supervisor.wake()

    def _request_sync(self) -> None:
        self._drain.request_sync()

    def _ask_run_id(self, deadline_s: float) -> str | None:
        return self._reducer.run_id(deadline_s)

    def _has_met(self) -> bool:
        return self._reducer.has_met

    def _is_stalled(self) -> bool:
        return self._disk.stalled or self._drain.ended

    def _after_pass(self, drained: int) -> None:
        if drained:
            self._tasks.check()
        self.samplers.start_due()
        if self._supervisor is not None:
            with self._disk:  # it reads the backends' cursors
                self._supervisor.check(time.monotonic())

    def at_close(self, hook: Callable[[], None]) -> None:
        """Register a callback to run at close, and in a forked child."""
        self._hooks.append(hook)

    def flush(self, timeout_s: float) -> bool:
        """Journal what was logged before this call; True if the disk confirmed all of it in time."""
        return self._flushing.flush(timeout_s)

    def secure(self, event: Event, timeout_s: float) -> None:
        """At a signal, in another thread than the main one: note it, and journal what was logged before."""
        self._flushing.secure(event, timeout_s)

    def begin_close(self, status: Status, *, timeout_s: float, reason: str = "") -> None:
        """Have the drain thread close the run; without effect after the first call. Never waits."""
        if self._end is None:
            ending = ending_now(status, reason, timeout_s)
            self._end = RunEnd(ending, self._closing, self._hooks, self.parts, self._supervisor)

    def wait_closed(self) -> bool:
        """Wait for what `begin_close` began, and for delivery; returns whether everything was delivered in time."""
        return self._end is None or self._end.wait()

    @property
    def is_over(self) -> bool:
        """Whether `wait_closed` has come to its end."""
        return self._end is not None and self._end.is_over

    def forget(self) -> None:
        """In a forked child: let go of what belongs to the parent, without a trace."""
        for hook in self._hooks:
            hook()
        if self._supervisor is not None:
            self._supervisor.forget()
