"""The life of one run in one process: from `create_logger_context` to `destroy_logger_context`.

It owns everything that lives outside the training thread: the inbox, the drain thread, the reducer thread where
there are several ranks, and on rank 0 the journal and the forwarder. One deadline bounds its end.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ranklog.abc import Content, Job, PendingItem
from ranklog.forwarding.supervisor import Supervisor
from ranklog.job.facts import job_facts, rank_facts
from ranklog.job.requeue import choose_run_id, new_run_id
from ranklog.job.runs import claim_run
from ranklog.journal import layout, store
from ranklog.model.config import SessionConfig
from ranklog.model.errors import RanklogError
from ranklog.model.losses import LATE_DISK, LOST, LOST_ITEMS, LOST_RECORDS
from ranklog.model.record import End, Event, File, Item, Record, Status
from ranklog.observe.sampler import NodeSamplers, follow_mlflow
from ranklog.pipeline.background import Aside
from ranklog.pipeline.drain import Drain, Sample
from ranklog.pipeline.gate import Gate
from ranklog.pipeline.merge import kept_bytes, merge_meeting, still_open
from ranklog.pipeline.progress import TellingInbox
from ranklog.pipeline.recorder import Recorder
from ranklog.pipeline.reducer import Reducer
from ranklog.process.blackbox import BlackBox, cause_of
from ranklog.process.health import Health
from ranklog.world.place.detect import unjoined_tasks_warning
from ranklog.world.progress import progress_of
from ranklog.world.strategies import resolve_strategy

DRAIN_BUSY_S = 0.1
DRAIN_IDLE_S = 0.5
SYNC_EVERY_S = 1.0
BEAT_EVERY_S = 60.0
RANKS_SHARE = 0.7
FACTS_S = 1.0
MERGE_AT_CLOSE_BYTES = 32 * 1024 * 1024
RANKS_AFTER_FAILURE_S = 3.0


class Session:
    """One open run of one process.

    Args:
        config: What the logger asks for.
        rank: Rank given by the user; None finds it.
    """

    def __init__(self, config: SessionConfig, rank: int | None = None) -> None:
        self.config = config
        self.strategy = resolve_strategy(config.strategy, rank)
        self.place = self.strategy.place()
        if (prepare := getattr(self.strategy, "prepare", None)) is not None:
            prepare()
        progress = progress_of(self.strategy)
        self.inbox: deque[Sample | PendingItem | Record] = deque() if progress is None else TellingInbox(progress)
        self.health = Health()
        self._black_box = BlackBox(self.place)
        self._stop = threading.Event()
        self._drain_lock = threading.Lock()
        self.recorder: Recorder | None = None
        self.resumed = False
        self.opened_s = time.monotonic()
        self.samplers = NodeSamplers(self, self.opened_s)
        self.aside = Aside(self.inbox.extend, self._lose)
        self._ends: list[Callable[[], None]] = [self.samplers.stop]
        self._supervisor: Supervisor | None = None
        self._lost_told = 0
        self._lost_items = 0
        self._run_id = config.run_id
        self._facts: threading.Thread | None = None
        gate = Gate(config.specs, rank=self.place.rank, world_size=self.place.world_size)
        if self.place.is_main and self._run_id is None:
            self._run_id = self._choose_run_id()
        me = rank_facts(self.place)
        self.reducer = Reducer(
            self.strategy,
            self.place,
            channel=config.channel,
            run_id=self._run_id,
            record=self.inbox.extend,
            health=self.health,
            directory=config.directory,
            greeting=() if self.place.is_main else [me],
        )
        if self.place.is_main:
            self._open_run(self.run_dir())
            self._record([me])
        self._emit = self._record if self.place.is_main else self.reducer.post
        self._drain = Drain(
            self.inbox,
            rows=self.reducer.buffer,
            emit=self._emit,
            store=lambda content, inline: self.store(content, inline, timeout_s=0.0),
            health=self.health,
            rank=self.place.rank,
            shared=gate.shared,
            last=self._black_box.values,
        )
        self._thread = threading.Thread(target=self._run, name="ranklog-drain", daemon=True)
        self._thread.start()
        self.reducer.start()
        follow_mlflow(self.samplers, self, config.specs, os.environ)
        if self.place.is_main:
            self._facts = threading.Thread(target=self._note_job, name="ranklog-facts", daemon=True)
            self._facts.start()

    def _choose_run_id(self) -> str:
        """A new run's id, or that of the run which an earlier attempt of this job opened."""
        if self.config.resume == "never":
            return new_run_id()
        # Without the number of the channel: the order of opening tells equal loggers apart.
        program = "|".join([self.config.experiment, self.config.channel.partition("/")[0], sys.argv[0]])
        return choose_run_id(self.config.directory, self.place, program)

    def _open_run(self, run_dir: Path) -> None:
        attempt = claim_run(
            run_dir,
            experiment=self.config.experiment,
            resume=self.config.resume,
            place=self.place,
            specs=self.config.specs,
        )
        self.resumed = attempt.attempt > 0
        self.recorder = Recorder(run_dir, attempt, self._wake, self.health)
        self._supervisor = Supervisor(self.config, run_dir, self.health)

    def _note_job(self) -> None:
        try:
            facts = job_facts(os.environ)
            with self._drain_lock:
                if not self._stop.is_set():
                    self._record([facts])
        except Exception as error:  # what is noted about a job must not disturb it
            self.health.warn("facts", f"{self.place}: what the job is could not be noted: {error!r}")

    def _wake(self) -> None:
        if self._supervisor is not None:
            self._supervisor.wake()

    def run_id(self, timeout_s: float) -> str:
        """Id of the run, on every rank; on others than 0 it comes through the communicator.

        Raises:
            RanklogError: rank 0 did not tell in time.
        """
        known = self._run_id or self.reducer.run_id(timeout_s)
        if known is None:
            raise RanklogError(
                f"{self.place}: rank 0 did not tell the run id within {timeout_s:g} s: open the logger on every rank "
                "after torch.distributed.init_process_group, or give the same run_id= to every rank"
            )
        self._run_id = known
        return known

    def run_dir(self, timeout_s: float = 30.0) -> Path:
        """The run directory; see `run_id`."""
        return self.config.directory / self.run_id(timeout_s)

    def store(self, content: Content, inline: bool, timeout_s: float = 30.0) -> File:
        """Store one content: in the record itself where it is small and ``inline``, else in the run directory.

        Waits for the disk, and on other ranks than 0 for the run id.

        Raises:
            RanklogError: the run directory is not known in time, or not there: another file system.
            OSError: the disk refuses.
        """
        source = content.source
        if inline and isinstance(source, bytes) and len(source) <= store.INLINE_BYTES:
            return store.store_bytes(Path(), content.path, source)
        run_dir = layout.shared_run_dir(self.run_dir(timeout_s), self.place)
        if isinstance(source, Path):
            return store.store_file(run_dir, content.path, source, inline=inline)
        return store.store_bytes(run_dir, content.path, source, inline=inline)

    def at_close(self, end: Callable[[], None]) -> None:
        """Have something ended with the session."""
        self._ends.append(end)

    def submit(self, record: Record, contents: Sequence[Content | File] = ()) -> None:
        """Queue a record; an item comes with its contents, and after background jobs under its kind and name."""
        if not isinstance(record, Item):
            self.inbox.append(record)
            return
        pending = PendingItem(record, tuple(contents))
        key = f"{record.kind} {record.name!r}"
        if self.aside.is_busy(key):
            self.background(key, lambda: [pending])
        else:
            self.inbox.append(pending)

    def background(self, key: str, job: Job) -> None:
        """Run a slow job after those before it, and queue what it returns. A job that fails counts as lost."""
        self.aside.put(key, job)

    def report(self, code: str, text: str, *, about: str = "") -> None:
        """Warn once per code and count; never raises. ``about`` tells causes of one code apart."""
        if code == LOST_ITEMS:
            self._lost_items += 1
        self.health.warn(code, text, about=about)

    def _lose(self, name: str, error: Exception) -> None:
        self.report(LOST_ITEMS, f"{name} is lost: it cannot be stored: {error}. Free space or quota there")

    def _record(self, records: Sequence[Record]) -> None:
        if self.recorder is not None and records:
            self.recorder.write(records)

    def _run(self) -> None:
        synced = beaten = time.monotonic()
        idle_s = DRAIN_BUSY_S
        first = True
        while not self._stop.wait(idle_s):
            try:
                drained = self.drain()
                if drained and first:
                    first = False
                    self._warn_if_independent()
                idle_s = DRAIN_BUSY_S if drained else min(idle_s * 1.5, DRAIN_IDLE_S)
                self._tell_trouble()
                self.samplers.start_due()
                now = time.monotonic()
                if self.recorder is not None and now - synced >= SYNC_EVERY_S:
                    synced = now
                    self.recorder.sync()
                if self.recorder is not None and now - beaten >= BEAT_EVERY_S:
                    beaten = now
                    self.recorder.beat()
                if self._supervisor is not None:
                    self._supervisor.check(now)
            except Exception as error:  # this thread must live as long as the run
                self.health.warn("drain", f"{self.place}: {error!r}")

    def _tell_trouble(self) -> None:
        """Write trouble into the run while it lives: it may be killed."""
        if news := self.health.news(None if self.place.is_main else self.place.rank):
            with self._drain_lock:
                self._emit(news)

    def _warn_if_independent(self) -> None:
        """Several tasks that no process group joined when the first record came may be trainings of their own."""
        if not self.strategy.ready() and (text := unjoined_tasks_warning(os.environ)):
            self.health.warn("independent", text)

    def drain(self) -> int:
        """Empty the inbox now, on the calling thread."""
        with self._drain_lock:
            drained = self._drain.run_once()
            self.reducer.tick()
            # Reduced records come back through the inbox, so that one thread writes the journal.
            return drained + self._drain.run_once()

    def flush(self, timeout_s: float) -> bool:
        """Bring all that was logged before into the journal; whether that worked in time."""
        deadline = time.monotonic() + timeout_s
        done = self.aside.wait(timeout_s)
        self.drain()
        reduced = self.reducer.flush(max(deadline - time.monotonic(), 0.0))
        self.drain()
        waiting = self._drain.put_back  # before the sync: an item that is stored in between is not on disk yet
        synced = self.recorder.sync() if self.recorder is not None else True
        synced = self.reducer.sync() and synced
        lost = self._lost_items + self._drain.dropped + self.reducer.lost
        lost += self.recorder.lost if self.recorder is not None else 0
        kept, self._lost_told = lost == self._lost_told, lost
        return done and reduced and synced and kept and not waiting

    def secure(self, event: Event, timeout_s: float) -> None:
        """At a signal, from any thread: note it, and bring all that was logged before into the journal."""
        deadline = time.monotonic() + timeout_s
        self.drain()
        with self._drain_lock:
            self._emit([msgspec.structs.replace(event, rank=self.place.rank), *self._black_box.items(event.text)])
        # Reduced values come where the other ranks got the signal, too, or log on.
        self.reducer.flush(max(deadline - time.monotonic(), 0.0), helping=False)
        self.drain()
        if self.recorder is not None:
            self.recorder.sync()

    def forget(self) -> None:
        """In a forked child: let go of what belongs to the parent, without a trace."""
        for end in self._ends:
            end()
        if self._supervisor is not None:
            self._supervisor.forget()

    def close(self, status: Status, *, timeout_s: float, reason: str = "") -> bool:
        """End the run in this process; whether all was delivered within the time."""
        deadline = time.monotonic() + timeout_s
        # Ranks that do not come must leave the backends some of the time; after a failure they may never come.
        ranks_s = min(timeout_s * RANKS_SHARE, RANKS_AFTER_FAILURE_S if status == "FAILED" else timeout_s)
        try:
            self._collect(time.monotonic() + ranks_s, reason)
        finally:
            delivered = self._end(status, reason, deadline)
        if not delivered and self.recorder is not None and self._supervisor is not None:
            self._supervisor.report_errors()
            sys.stderr.write(
                f"ranklog: run {self._run_id} is journaled, but not delivered to every backend within {timeout_s:g} s. "
                f"Deliver the rest with:  ranklog sync {self.recorder.run_dir}\n"
            )
        return delivered

    def _collect(self, deadline: float, reason: str) -> None:
        """Bring what this rank logged, and on rank 0 what the others did, to its place."""
        for end in self._ends:
            end()
        for name in self.aside.close(max(deadline - time.monotonic(), 0.0)):
            text = f"{name} is lost: the time to close was over before it was stored; give exit_timeout= more"
            self.report(LOST_ITEMS, text)
        self.samplers.close()
        if self._facts is not None:
            self._facts.join(min(FACTS_S, max(deadline - time.monotonic(), 0.0)))
        self._stop.set()
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        if self._thread.is_alive():
            self.health.warn(LATE_DISK, f"{self.place}: the disk is slow; what waits for it is not in the journal")
            return
        self.drain()
        if reason or self.reducer.meeting is not None:
            self._emit(self._black_box.items(cause_of(reason) or "the ranks could no longer talk"))
        if not self.place.is_main:
            if reason:
                self.health.warn("rank_failed", f"{self.place} ended with {reason}")
            self.reducer.post(self.health.news(self.place.rank, last=True))
        if not self.reducer.close(max(deadline - time.monotonic(), 0.0)) and self.place.is_main:
            self.health.warn("late_ranks", f"{self.place}: other ranks did not close in time; coverage is marked")
            self._record(self.reducer.abandon())
        self.drain()
        if self.recorder is not None and (meeting := self.reducer.meeting) is not None:
            self._merge_spills(self.recorder.run_dir, meeting, deadline)
        if waiting := len(self.inbox):
            self.health.warn(LOST, f"{self.place}: {waiting} items could not be stored before the end")

    def _merge_spills(self, run_dir: Path, meeting: str, deadline: float) -> None:
        """After a break: wait for what the other ranks kept, and put it together."""
        while (still_open(run_dir, meeting) or self.reducer.silent_ranks() is None) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.reducer.name_silent()
        self.drain()
        try:
            if still_open(run_dir, meeting) or kept_bytes(run_dir, meeting) > MERGE_AT_CLOSE_BYTES:
                self.health.warn(
                    "spill",
                    f"other ranks keep values in {run_dir} that are not merged yet: run  ranklog sync {run_dir}  when"
                    " they have ended",
                )
                return
            self._record(merge_meeting(run_dir, meeting))
        except (OSError, RanklogError) as error:
            self.health.warn("spill", f"what other ranks kept in {run_dir} cannot be merged: {error}")

    def _end(self, status: Status, reason: str, deadline: float) -> bool:
        if self.recorder is None or self._supervisor is None:
            return True
        if self.recorder.lost:
            self.health.warn(LOST_RECORDS, f"{self.recorder.lost} records could not be journaled")
        self._record([*self.health.news(last=True), End(status, time.time_ns(), reason)])
        self.recorder.close()
        return self._supervisor.close(
            max(deadline - time.monotonic(), 0.0), records=self.recorder.ordinal, status=status
        )
