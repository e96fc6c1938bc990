"""The delivery side of one run as rank 0 keeps it: started, asked for trouble, followed by another when it ends, ended.

In: wake-ups when the journal has grown, and now and then a look from the drain thread. Out: a forwarder that lives as
long as the run, and one warning for each kind of trouble that it has.
"""

from __future__ import annotations

import time
from pathlib import Path

from ranklog.forwarding.forwarder import Forwarder, Outcome, start_forwarder
from ranklog.forwarding.progress import Waiting
from ranklog.journal.cursor import load_cursors
from ranklog.model.config import SessionConfig
from ranklog.process.health import Health

CHECK_EVERY_S = 5.0
REVIVE_EVERY_S = 60.0


class Outlet:
    """See the module; for a run whose journal exists.

    Args:
        config: What the logger asks for.
        run_dir: The run directory.
        health: Takes trouble.
    """

    def __init__(self, config: SessionConfig, run_dir: Path, health: Health) -> None:
        self._config = config
        self._run_dir = run_dir
        self._health = health
        self._checked_s = self._revived_s = float("-inf")
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
        """The journal has grown; never blocks, never raises."""
        self._forwarder.wake()

    def look(self, now_s: float) -> None:
        """Every `CHECK_EVERY_S`: warn of trouble, and see that a forwarder lives."""
        if self._closing or now_s - self._checked_s < CHECK_EVERY_S:
            return
        self._checked_s = now_s
        self.tell_trouble()
        if self._forwarder.is_gone() and now_s - self._revived_s >= REVIVE_EVERY_S:
            # For example killed for its memory. Not more often: one that dies at once would be started without end.
            self._revived_s = now_s
            self._health.warn("forwarder", "the process that delivers to the backends ended; another one goes on")
            self._forwarder.forget()
            self._forwarder = self._start()

    def tell_trouble(self) -> None:
        """Say once for each backend that it makes trouble; the forwarder goes on trying."""
        for _, cursor in load_cursors(self._run_dir):
            for segment, reason in cursor.damage.items():
                self._health.warn(f"damage:{segment}", f"{segment} of {self._run_dir} cannot be read {reason}")
            if cursor.error is not None:
                self._health.warn(
                    f"deliver:{cursor.backend}",
                    f"{cursor.backend} does not accept yet: {cursor.error}. Everything is journaled and tried again.",
                )

    def forget(self) -> None:
        """In a forked child: let go of what belongs to the parent."""
        self._forwarder.forget()

    def close(self, timeout_s: float, *, records: int) -> bool:
        """Let the forwarder finish; whether all was delivered in time. Ends it in any case.

        Args:
            timeout_s: How long to wait.
            records: Records in the journal, to say how far delivery is.
        """
        self._closing = True
        deadline = time.monotonic() + timeout_s
        waiting = Waiting(self._run_dir, records, timeout_s)
        try:
            outcome = self._forwarder.close(timeout_s)
            if outcome == "died":
                outcome = self._close_another(deadline)
            return outcome == "delivered"
        finally:
            waiting.stop()

    def _close_another(self, deadline: float) -> Outcome:
        """Once: one that dies again would die each time."""
        if (left_s := deadline - time.monotonic()) <= 0:
            self._health.warn("forwarder_end", "the process that delivers ended, and no time is left for another one")
            return "died"
        self._health.warn("forwarder_end", "the process that delivers ended; another one delivers the rest")
        outcome = self._start().close(left_s)
        if outcome == "died":
            self._health.warn("forwarder_again", f"it ended as well: {self._run_dir / 'delivery.log'} may say why")
        return outcome
