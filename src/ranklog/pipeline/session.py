"""One open run in one process: builds everything outside the training thread, and owns it.

There is an inbox, the drain thread, a background worker, samplers, and the reducer thread where there are several
ranks; on rank 0 also the journal's recorder and the forwarder. `ranklog.pipeline.drain` says who owns what. Items and
observers get its `sink`. Opening that fails undoes what it did. `flush` and closing return at their deadline while the
disk stalls.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ranklog.forwarding.supervisor import Supervisor
from ranklog.job.facts import job_facts, rank_facts
from ranklog.model.config import SessionConfig
from ranklog.model.errors import RanklogError
from ranklog.model.record import Event, Status
from ranklog.observe.sampler import NodeSamplers, follow_mlflow
from ranklog.pipeline.backlog import buffer_bytes, report_full
from ranklog.pipeline.closing import Closing
from ranklog.pipeline.contents import ContentStore
from ranklog.pipeline.drain import Drain
from ranklog.pipeline.ending import RunEnd, ending_now
from ranklog.pipeline.flushing import Flushing
from ranklog.pipeline.gate import Gate
from ranklog.pipeline.inbox import Inbox, ProgressInbox
from ranklog.pipeline.opening import claim
from ranklog.pipeline.recorder import Recorder
from ranklog.pipeline.records import RecordBuilder
from ranklog.pipeline.reducer import Reducer
from ranklog.pipeline.sink import SessionSink
from ranklog.pipeline.stall import DiskCalls
from ranklog.process.blackbox import BlackBox
from ranklog.process.health import Health
from ranklog.world.place.detect import unjoined_tasks_warning
from ranklog.world.progress import progress_of
from ranklog.world.strategies import resolve_strategy


class Session:
    """One open run of one process.

    Args:
        config: Configuration from the logger.
        rank: Rank given by the user; None finds it.

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
        self._progress = progress_of(self.strategy)
        self._disk = DiskCalls()
        self._limit_bytes = buffer_bytes()
        self.inbox = self._make_inbox()
        self.sink = SessionSink(self.place, self.inbox, self.health, self.run_dir)
        self.samplers = NodeSamplers(self.sink, self.opened_s)
        self._black_box = BlackBox(self.place)
        self._hooks: list[Callable[[], None]] = [self.samplers.stop]
        self._checked_independent = False
        self._supervisor: Supervisor | None = None
        self._end: RunEnd | None = None
        with ExitStack() as undo:
            self._open(undo)
            undo.pop_all()

    def _make_inbox(self) -> Inbox:
        def stalled() -> bool:
            return self._disk.stalled or self._drain.ended

        def full() -> None:
            report_full(self.health, self._limit_bytes)

        if self._progress is None:
            return Inbox(self._limit_bytes, stalled, full)
        return ProgressInbox(self._limit_bytes, stalled, full, self._progress)

    def _open(self, undo: ExitStack) -> None:
        """Build and start; each step that leaves something behind registers how it is undone."""
        place, main = self.place, self.place.is_main
        gate = Gate(self.config.specs, rank=place.rank, world_size=place.world_size)
        me = rank_facts(place)
        run = claim(self.config, place, undo) if main else None
        self._run_id = self.config.run_id if run is None else run.run_dir.name
        self.resumed = run is not None and run.attempt.attempt > 0
        self._recorder: Recorder | None = None
        if run is not None:
            self._recorder = Recorder(
                run.run_dir,
                run.attempt,
                wake=self._wake,
                health=self.health,
                limit_bytes=self._limit_bytes,
                disk=self._disk,
            )
            undo.callback(self._recorder.discard)
            self._recorder.write([me])
        self._reducer = Reducer(
            self.strategy,
            place,
            channel=self.config.channel,
            run_id=self._run_id,
            record=self.inbox.put_all,
            request_sync=self._request_sync,
            health=self.health,
            directory=self.config.directory,
            greeting=() if main else [me],
        )
        emit = self._reducer.post if self._recorder is None else self._recorder.write
        builder = RecordBuilder(
            self.inbox,
            rows=self._reducer,
            emit=emit,
            store=ContentStore(place, self.run_dir, self._disk).store,
            health=self.health,
            rank=place.rank,
            shared=gate.shared,
            last=self._black_box.values,
            limit_bytes=self._limit_bytes,
        )
        self._drain = Drain(
            self.inbox,
            builder=builder,
            emit=emit,
            recorder=self._recorder,
            reducer=self._reducer,
            health=self.health,
            disk=self._disk,
            rank=None if main else place.rank,
            each_pass=self._look_around,
        )
        self._closing = Closing(
            place,
            drain=self._drain,
            builder=builder,
            recorder=self._recorder,
            background=self.sink.worker,
            samplers=self.samplers,
            reducer=self._reducer,
            black_box=self._black_box,
            health=self.health,
        )
        self._flushing = Flushing(
            place,
            background=self.sink.worker,
            drain=self._drain,
            reducer=self._reducer,
            black_box=self._black_box,
            lost=lambda: self.sink.lost + self._drain.lost + self._reducer.lost,
            progress=self._progress,
        )
        self._drain.start()
        undo.callback(self._drain.stop)
        follow_mlflow(self.samplers, self.sink, self.config.specs, os.environ)
        self._reducer.start()
        if run is not None:
            run.remember()
            self._supervisor = Supervisor(self.config, run.run_dir, self.health)
            self._closing.facts = self._start_facts()

    def _start_facts(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._note_job, name="ranklog-facts", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the limit on threads
            self.health.warn("facts", f"{self.place}: cannot collect facts about the job: {error}")
            return None
        return thread

    def _note_job(self) -> None:
        try:
            self.inbox.put(job_facts(os.environ))
        except Exception as error:  # facts about a job must not disturb it
            self.health.warn("facts", f"{self.place}: cannot collect facts about the job: {error!r}")

    def _wake(self) -> None:
        if self._supervisor is not None:
            self._supervisor.wake()

    def _request_sync(self) -> None:
        self._drain.request_sync()

    def _look_around(self, drained: int) -> None:
        """After each pass of the drain thread."""
        if drained and not self._checked_independent:
            self._checked_independent = True
            # Several tasks that no process group has joined when the first record comes may be separate trainings.
            if not self.strategy.ready() and (text := unjoined_tasks_warning(os.environ)):
                self.health.warn("independent", text)
        self.samplers.start_due()
        if self._supervisor is not None:
            self._supervisor.check(time.monotonic())

    @property
    def ordinal(self) -> int | None:
        """On rank 0: number of the journal's next record."""
        return None if self._recorder is None else self._recorder.ordinal

    def run_id(self, timeout_s: float) -> str:
        """Id of the run, on every rank; on others than 0 it comes through the communicator.

        Raises:
            RanklogError: rank 0 did not send it in time.
        """
        known = self._run_id or self._reducer.run_id(time.monotonic() + timeout_s)
        if known is None:
            raise RanklogError(
                f"{self.place}: rank 0 did not send the run id within {timeout_s:g} s: open the logger on every rank "
                "after torch.distributed.init_process_group, or give the same run_id= to every rank"
            )
        self._run_id = known
        return known

    def run_dir(self, timeout_s: float = 30.0) -> Path:
        """The run directory; see `run_id`."""
        return self.config.directory / self.run_id(timeout_s)

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
            self._end = RunEnd(
                ending_now(status, reason, timeout_s),
                self._closing,
                self._hooks,
                drain=self._drain,
                recorder=self._recorder,
                supervisor=self._supervisor,
                health=self.health,
            )

    def wait_closed(self) -> bool:
        """Wait for what `begin_close` began, and for delivery; returns whether everything was delivered in time."""
        return self._end is None or self._end.wait(self._progress)

    def forget(self) -> None:
        """In a forked child: let go of what belongs to the parent, without a trace."""
        for hook in self._hooks:
            hook()
        if self._supervisor is not None:
            self._supervisor.forget()
