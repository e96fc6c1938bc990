"""Opens one generation of ranks in a thread, so that the time limit holds even if the store never answers.

In: how to meet, and how to connect the ranks that met. Out: the world, or `WorldError` in time. Most requests to a
torch store have no time limit: they wait while the process that serves it is stopped, or its node cannot be reached.
Such a request cannot be interrupted, so the next try waits for the same thread instead of starting another one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ranklog.model.errors import WorldError
from ranklog.world.shutdown import PROCESS_ENDING
from ranklog.world.torch.roll import Roll

W = TypeVar("W")
SLACK_S = 2.0
"""Time after a limit for whoever kept it to say which ranks are missing."""
_STOPPING_S = 1.0
_CHECK_S = 0.1


class Opening(Generic[W]):
    """The thread that opens one generation.

    Args:
        meet: Returns the roll of the generation.
        connect: Connects its members.
    """

    def __init__(self, meet: Callable[[], Roll], connect: Callable[[Roll], W]) -> None:
        self._meet = meet
        self._connect = connect
        self._met = threading.Event()
        self._over = threading.Event()
        self._world: W | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ranklog-opening", daemon=True)
        self._thread.start()

    @property
    def has_failed(self) -> bool:
        """Whether there will be no world: the thread has ended without one, or is not in this forked process."""
        return self._world is None and not self._thread.is_alive()

    def wait(self, meet_s: float, connect_s: float, stop: threading.Event | None) -> W:
        """Return the world.

        Args:
            meet_s: Time limit until the ranks have met.
            connect_s: Time limit for connecting them after that.
            stop: Set from another thread to give up early.

        Raises:
            WorldError: the store did not answer in time.
            BaseException: the thread raised it.
        """
        if _happens(self._met, meet_s, stop) and _happens(self._over, connect_s, None):
            if self._error is not None:
                raise self._error
            if self._world is not None:
                return self._world
        raise WorldError("the store of the process group does not answer: its process or node is stopped or gone")

    def _run(self) -> None:
        try:
            roll = self._meet()
            self._met.set()
            self._world = self._connect(roll)
        except BaseException as error:  # raised again in the thread that waits
            self._error = error
        finally:
            self._met.set()
            self._over.set()


def _happens(event: threading.Event, timeout_s: float, stop: threading.Event | None) -> bool:
    """Wait for an event until shortly after a time limit, or after the other thread was asked to stop."""
    end_s = time.monotonic() + timeout_s + SLACK_S
    stopping = False
    while not event.wait(_CHECK_S):
        now_s = time.monotonic()
        if not stopping and (PROCESS_ENDING.is_set() or (stop is not None and stop.is_set())):
            stopping, end_s = True, min(end_s, now_s + _STOPPING_S)
        if now_s >= end_s:
            return False
    return True
