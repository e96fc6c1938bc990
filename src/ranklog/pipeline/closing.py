"""Closes a run in this process, in one order, in the drain thread.

Ctrl-C reaches the main thread only, which waits for this. So nothing here is ever interrupted: Ctrl-C shortens the
waits (`Ending.hurry`), and the rest of the order is kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ranklog.model.errors import RanklogError
from ranklog.model.losses import LOST, LOST_ITEMS, LOST_RECORDS
from ranklog.model.record import End, Status
from ranklog.pipeline.parts import Parts
from ranklog.pipeline.reduction.merge import kept_by_others, kept_bytes, merge_rendezvous, still_open

RANKS_SHARE = 0.7
RANKS_AFTER_FAILURE_S = 3.0
ABANDON_S = 5.0
FACTS_S = 1.0
HOOKS_S = 1.0
"""Seconds that callbacks get at least, also after Ctrl-C."""
NAMED = 8
"""Items that a warning about a loss names."""
MERGE_AT_CLOSE_BYTES = 32 * 1024 * 1024


class Ending:
    """How a run ends, and how long that may take.

    Args:
        status: Status of the run.
        reason: Why it failed; empty for none.
        cause: The reason with a traceback, for the black box.
        timeout_s: Seconds for everything, delivery included.

    Attributes:
        deadline_s: Monotonic time at which the caller stops waiting.
        ranks_deadline_s: Monotonic time at which the other ranks are given up. Backends keep some of the time, and
            after a failure the ranks may never come.
    """

    def __init__(self, status: Status, reason: str, cause: str, timeout_s: float) -> None:
        self.status = status
        self.reason = reason
        self.cause = cause
        self.timeout_s = timeout_s
        now_s = time.monotonic()
        self.deadline_s = now_s + timeout_s
        ranks_s = min(timeout_s * RANKS_SHARE, RANKS_AFTER_FAILURE_S if status == "FAILED" else timeout_s)
        self.ranks_deadline_s = now_s + ranks_s

    def hurry(self) -> None:
        """Wait for nobody any more."""
        self.ranks_deadline_s = 0.0


class Closing:
    """Closes one session.

    Args:
        parts: What is closed.

    Attributes:
        facts: Thread that collects facts about the job, if one does.
    """

    def __init__(self, parts: Parts) -> None:
        self._place = parts.place
        self._drain = parts.drain
        self._builder = parts.builder
        self._recorder = parts.recorder
        self._background = parts.sink.worker
        self._samplers = parts.samplers
        self._reducer = parts.reducer
        self._black_box = parts.black_box
        self._health = parts.health
        self.facts: threading.Thread | None = None

    def close(self, ending: Ending, hooks: Sequence[Callable[[], None]]) -> bool:
        """Close everything but delivery; returns True when the journal is closed.

        The order:

        1. Drain the inbox: whatever happens later, what was logged is in the journal.
        2. Run the hooks, which stop observers and periodic samples. One that raises or is late is reported.
        3. Wait for facts about the job, background jobs, and items that wait for the run directory; report those
           that are given up; end the samplers.
        4. Drain again: hooks and jobs may have logged.
        5. Note the black box and this rank's trouble; other ranks send them to rank 0.
        6. Reduce the last rows with the other ranks, or without those that do not come in time.
        7. Drain again: the reduced records.
        8. After a break, merge what other ranks kept.
        9. Write the trouble, then `End`, and close the journal. Nothing comes after `End`.
        """
        for step in (
            self._drain.drain,
            lambda: self._run_hooks(hooks, ending),
            lambda: self._finish_jobs(ending),
            self._drain.drain,
            lambda: self._note_cause(ending),
            lambda: self._meet_ranks(ending),
            self._drain.drain,
            lambda: self._merge(ending),
            self._report_waiting,
        ):
            self._guard(step)
        self._guard(lambda: self._end_journal(ending))
        self._drain.end()
        return True

    def _guard(self, step: Callable[[], object]) -> None:
        """Run a step; whatever it raises, the following ones run."""
        try:
            step()
        except BaseException as error:  # also what a hook of somebody's library raises to end its own thread
            self._health.warn("close", f"{self._place}: closing continues after {error!r}")

    def _run_hooks(self, hooks: Sequence[Callable[[], None]], ending: Ending) -> None:
        """Run the hooks in a thread: one that hangs must not keep the run without its end."""
        begun_s = time.monotonic()

        def run() -> None:
            for hook in hooks:
                self._guard(hook)

        def is_over() -> bool:
            return not thread.is_alive() or time.monotonic() >= max(ending.ranks_deadline_s, begun_s + HOOKS_S)

        thread = threading.Thread(target=run, name="ranklog-hooks", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the limit on threads
            run()
        self._drain.serve(is_over, ending.deadline_s)
        if thread.is_alive():
            self._health.warn(
                "late_hook", f"{self._place}: a callback at close is not done in time; the run is closed without it"
            )

    def _finish_jobs(self, ending: Ending) -> None:
        if (facts := self.facts) is not None:
            self._drain.serve(lambda: not facts.is_alive(), min(time.monotonic() + FACTS_S, ending.deadline_s))
        done = self._background.barrier()
        self._drain.serve(
            lambda: (done() and not self._builder.awaits_run_dir) or time.monotonic() >= ending.ranks_deadline_s,
            ending.deadline_s,
        )
        for name in self._background.close():
            text = f"{name} is lost: closing timed out before it was stored; give a larger exit_timeout="
            self._health.warn(LOST_ITEMS, text)
        self._guard(self._samplers.close)

    def _note_cause(self, ending: Ending) -> None:
        if ending.reason or self._reducer.rendezvous is not None:
            self._drain.emit(self._black_box.items(ending.cause or "the ranks could no longer communicate"))
        if not self._place.is_main:
            if ending.reason:
                self._health.warn("rank_failed", f"{self._place} ended with {ending.reason}")
            self._drain.emit(self._health.news(self._place.rank, last=True))

    def _meet_ranks(self, ending: Ending) -> None:
        self._reducer.begin_close()
        self._drain.drain()
        self._drain.serve(lambda: self._reducer.done or time.monotonic() >= ending.ranks_deadline_s, ending.deadline_s)
        if not self._reducer.done and self._recorder is not None:
            self._health.warn("late_ranks", f"{self._place}: other ranks did not close in time; coverage is marked")
            self._drain.serve(self._reducer.stop_waiting, time.monotonic() + ABANDON_S)
            self._drain.emit(self._reducer.abandon())

    def _merge(self, ending: Ending) -> None:
        """After a break: wait for what the other ranks kept, and put it together."""
        if self._recorder is None or (rendezvous := self._reducer.rendezvous) is None:
            return
        run_dir = self._recorder.run_dir

        def complete() -> bool:
            return not still_open(run_dir, rendezvous) and self._reducer.silent_ranks() is not None

        self._drain.serve(lambda: complete() or time.monotonic() >= ending.ranks_deadline_s, ending.deadline_s)
        self._reducer.name_silent()
        try:
            if not kept_by_others(run_dir, rendezvous):
                return
            if still_open(run_dir, rendezvous) or kept_bytes(run_dir, rendezvous) > MERGE_AT_CLOSE_BYTES:
                self._health.warn("spill", _not_merged(run_dir))
                return
            self._drain.emit(merge_rendezvous(run_dir, rendezvous))
        except (OSError, RanklogError) as error:
            self._health.warn("spill", f"values that other ranks kept in {run_dir} cannot be merged: {error}")

    def _report_waiting(self) -> None:
        if waiting := self._builder.waiting_items:
            named = ", ".join(waiting[:NAMED]) + (" and others" if waiting[NAMED:] else "")
            text = f"{self._place}: {len(waiting)} items could not be stored before the end: {named}"
            self._health.warn(LOST, text)

    def _end_journal(self, ending: Ending) -> None:
        if self._recorder is None:
            return
        if self._recorder.lost:
            self._health.warn(LOST_RECORDS, f"{self._recorder.lost} records could not be journaled")
        self._recorder.write([*self._health.news(last=True), End(ending.status, time.time_ns(), ending.reason)])
        self._recorder.close()


def _not_merged(run_dir: Path) -> str:
    text = f"other ranks keep values in {run_dir} that are not merged yet"
    return f"{text}: after they have ended, run  ranklog sync {run_dir}"
