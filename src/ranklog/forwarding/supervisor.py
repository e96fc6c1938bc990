"""Supervises the forwarder on rank 0: starts it, reports its errors, restarts it when it dies, stops it.

Driven by the drain thread. Warns once per kind of error.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ranklog.abc import Forwarder, ForwarderEnd
from ranklog.forwarding.forwarder import start_forwarder
from ranklog.forwarding.progress import ProgressLine
from ranklog.job.efficiency import is_line_due
from ranklog.journal.cursor import load_cursors
from ranklog.model.config import SessionConfig
from ranklog.model.record import Status
from ranklog.process.warnings import Health

CHECK_EVERY_S = 5.0
RESTART_EVERY_S = 60.0
"""A forwarder that dies at once is restarted at most this often."""


class Supervisor:
    """Keeps a forwarder running for as long as the run is open. The journal must exist.

    Args:
        config: Options of the logger.
        run_dir: The run directory.
        health: Takes warnings.
    """

    def __init__(self, config: SessionConfig, run_dir: Path, health: Health) -> None:
        self._config = config
        self._run_dir = run_dir
        self._health = health
        self._checked_s = self._restarted_s = float("-inf")
        self._closing = False
        self._forwarder = self._start()

    def _start(self) -> Forwarder:
        return start_forwarder(
            self._config.forward,
            self._run_dir,
            secrets=self._config.secrets,
            console=any(spec.backend == "console" for spec in self._config.specs),
            health=self._health,
        )

    def wake(self) -> None:
        """Tell the forwarder that the journal has grown; never blocks, never raises."""
        self._forwarder.wake()

    def check(self, now_s: float) -> None:
        """Every `CHECK_EVERY_S`, report delivery errors and restart a forwarder that died."""
        if self._closing or now_s - self._checked_s < CHECK_EVERY_S:
            return
        self._checked_s = now_s
        self.report_errors()
        if self._forwarder.is_gone() and now_s - self._restarted_s >= RESTART_EVERY_S:
            # For example killed for its memory.
            self._restarted_s = now_s
            self._health.warn("forwarder", "the forwarder process died; restarting it")
            self._forwarder.forget()
            self._forwarder = self._start()

    def report_errors(self) -> None:
        """Warn once per backend that fails or names a risk, and once per damaged journal file.

        The forwarder keeps retrying.
        """
        for _, cursor in load_cursors(self._run_dir):
            for segment, reason in cursor.damage.items():
                self._health.warn(f"damage:{segment}", f"{segment} of {self._run_dir} cannot be read {reason}")
            if cursor.error is not None:
                self._health.warn(
                    f"deliver:{cursor.backend}",
                    f"cannot deliver to {cursor.backend} ({cursor.error}); records wait in the journal, retrying",
                )
            if risk := cursor.known.get("warning"):
                self._health.warn(f"backend:{cursor.backend}", f"{cursor.backend}: {risk}")

    def forget(self) -> None:
        """In a forked child: close what belongs to the parent."""
        self._forwarder.forget()

    def close(self, timeout_s: float, *, records: int, status: Status) -> bool:
        """Wait until everything is delivered, then stop the forwarder; returns whether that worked in time.

        Args:
            timeout_s: Seconds to wait.
            records: Number of records in the journal, for the progress line.
            status: Status of the run. A finished run in a scheduler's job gets its efficiency line.
        """
        self._closing = True
        deadline = time.monotonic() + timeout_s
        progress = ProgressLine(self._run_dir, records, timeout_s)
        wants_line = status == "FINISHED" and is_line_due(os.environ, time.monotonic())
        try:
            end = _finish(self._forwarder, timeout_s, wants_line)
            if end.outcome == "died":
                end = self._replace(deadline, wants_line)
        finally:
            progress.stop()
        if end.efficiency:
            sys.stderr.write(f"ranklog: {end.efficiency}\n")
        return end.outcome == "delivered"

    def _replace(self, deadline: float, wants_line: bool) -> ForwarderEnd:
        """Deliver the rest with a second forwarder. There is no third: it would die as well."""
        if (left_s := deadline - time.monotonic()) <= 0:
            self._health.warn("forwarder_end", "the forwarder process died, and no time is left to restart it")
            return ForwarderEnd("died")
        self._health.warn("forwarder_end", "the forwarder process died; another one delivers the rest")
        end = _finish(self._start(), left_s, wants_line)
        if end.outcome == "died":
            log = self._run_dir / "delivery.log"
            self._health.warn("forwarder_again", f"the second forwarder process died as well; see {log}")
        return end


def _finish(forwarder: Forwarder, timeout_s: float, wants_line: bool) -> ForwarderEnd:
    if wants_line:
        forwarder.ask_efficiency()
    return forwarder.close(timeout_s)
