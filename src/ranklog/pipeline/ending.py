"""Ends a run for the thread that closes the logger: it waits for the drain thread, then for delivery.

The drain thread closes the journal (`ranklog.pipeline.closing`); this thread only waits, up to the deadline. Ctrl-C
ends the waits for other ranks, and the journal is closed all the same. While the disk stalls the wait ends at the
deadline, and the drain thread closes the run once the disk answers.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from ranklog.forwarding.supervisor import Supervisor
from ranklog.model.losses import LATE_DISK
from ranklog.model.record import Status
from ranklog.pipeline.closing import Closing, Ending
from ranklog.pipeline.parts import Parts
from ranklog.pipeline.waiting import Reply
from ranklog.process.blackbox import cause_of

REPORT_S = 0.5
"""Seconds to wait for the errors of backends, also after the deadline."""
INTERRUPTED_S = 10.0
"""Seconds that the drain thread gets after Ctrl-C to write the rest; a second Ctrl-C ends the wait."""


class RunEnd:
    """The end of one run, begun once.

    Args:
        ending: How it ends.
        closing: Closes the journal.
        hooks: Callbacks that run at close.
        parts: The parts of the session.
        supervisor: Keeps the forwarder; None on other ranks than 0.
    """

    def __init__(
        self,
        ending: Ending,
        closing: Closing,
        hooks: Sequence[Callable[[], None]],
        parts: Parts,
        supervisor: Supervisor | None,
    ) -> None:
        self._ending = ending
        self._parts = parts
        self._recorder = parts.recorder
        self._supervisor = supervisor
        self._delivers = threading.Lock()  # claimed once, never waited for
        self._delivered: bool | None = None

        def close() -> None:
            closing.close(ending, hooks)
            if not self._delivers.acquire(blocking=False) and supervisor is not None:
                supervisor.forget()  # nobody waits any more: the forwarder delivers the rest by itself

        self._closed: Reply[object] = parts.drain.post(close)

    @property
    def is_over(self) -> bool:
        """Whether `wait` has come to its end."""
        return self._delivered is not None

    def wait(self) -> bool:
        """Wait for the journal and for delivery; returns whether everything was delivered in time."""
        try:
            self._parts.drain.wait_for(self._closed, self._ending.deadline_s, self._parts.progress)
        except BaseException:  # Ctrl-C, which may come at any time
            self._ending.hurry()
            self._closed.wait(min(time.monotonic() + INTERRUPTED_S, self._ending.deadline_s))
            self._deliver()
            raise
        return self._deliver()

    def _deliver(self) -> bool:
        if self._delivered is not None:
            return self._delivered
        self._delivered = False
        if not self._closed.given and self._delivers.acquire(blocking=False):
            self._parts.health.warn(
                LATE_DISK,
                "the disk is slow, or a callback at close: records that wait for it are not in the journal"
                f"{self._where()}",
            )
            return False
        if self._recorder is None or self._supervisor is None:
            self._delivered = True
            return True
        left_s = max(self._ending.deadline_s - time.monotonic(), 0.0)
        self._delivered = self._supervisor.close(left_s, records=self._recorder.ordinal, status=self._ending.status)
        self._report_errors(self._supervisor)
        if not self._delivered:
            sys.stderr.write(
                f"ranklog: run {self._recorder.run_dir.name} is journaled, but not delivered to every backend within "
                f"{self._ending.timeout_s:g} s. Deliver the rest with:  ranklog sync {self._recorder.run_dir}\n"
            )
        return self._delivered

    def _report_errors(self, supervisor: Supervisor) -> None:
        """Report errors of backends, in a thread: their cursors are on the disk, which may hang."""
        reporter = threading.Thread(target=supervisor.report_errors, name="ranklog-report", daemon=True)
        try:
            reporter.start()
        except RuntimeError:  # the limit on threads; the disk has just taken the end of the journal
            with suppress(OSError):
                supervisor.report_errors()
        else:
            reporter.join(REPORT_S)

    def _where(self) -> str:
        return "" if self._recorder is None else f" of {self._recorder.run_dir}"


def ending_now(status: Status, reason: str, timeout_s: float) -> Ending:
    """An ending that begins now, in the thread that handles the exception, if there is one."""
    return Ending(status, reason, cause_of(reason), timeout_s)
