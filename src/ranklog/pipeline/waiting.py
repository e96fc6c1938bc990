"""Waiting that a signal handler may interrupt, and repeat, at any point.

Python runs a signal handler in the main thread between any two instructions, and the handler may call the logger again.
A thread of the program therefore never holds a lock that one of ranklog's threads needs. It waits in `Reply.wait` or
`Gate.wait_for`, which hold nothing, and whoever wakes it never blocks. Every wait has a deadline on the monotonic
clock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from ranklog.world.progress import PAUSE_S, Progress

T = TypeVar("T")
Command = Callable[[], None]

STALLED_S = 1.0
"""A single call that takes longer than this counts as stalled; healthy ones take milliseconds."""


class Reply(Generic[T]):
    """The result of work that another thread does, given once."""

    def __init__(self) -> None:
        self._given = _held()
        self._values: list[T] = []

    def give(self, value: T) -> None:
        """Give the result and wake the thread that waits for it."""
        self._values.append(value)
        self._given.release()

    @property
    def given(self) -> bool:
        """Whether the result is there."""
        return bool(self._values)

    def wait(self, deadline_s: float, progress: Progress | None = None) -> T | None:
        """Wait for the result, meanwhile moving communication on; None if it does not come in time."""
        while not self._values:
            if _wait(self._given, deadline_s, progress):
                self._given.release()  # for whoever else waits, for example the code that a signal handler interrupted
            elif time.monotonic() >= deadline_s:
                break
        return self._values[0] if self._values else None


class Gate:
    """Wakes every thread that waits for a change."""

    def __init__(self) -> None:
        self._waiting: deque[threading.Lock] = deque()

    def wait_for(self, until: Callable[[], object], deadline_s: float, progress: Progress | None = None) -> bool:
        """Wait until something holds, meanwhile moving communication on; returns whether it came in time."""
        while True:
            changed = _held()
            self._waiting.append(changed)
            # Asked after joining the queue, so that no change goes unnoticed.
            while not until():
                if time.monotonic() >= deadline_s:
                    return False
                if _wait(changed, deadline_s, progress):
                    break
            else:
                return True

    def changed(self) -> None:
        """Wake the waiting threads; never blocks."""
        while self._waiting:
            try:
                self._waiting.popleft().release()
            except IndexError:  # another thread was faster
                return


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _wait(lock: threading.Lock, deadline_s: float, progress: Progress | None) -> bool:
    """Wait for the release; with ``progress`` only until it should be called again."""
    left_s = min(max(deadline_s - time.monotonic(), 0.0), threading.TIMEOUT_MAX)
    if progress is None:
        return lock.acquire(timeout=left_s)
    progress()
    return lock.acquire(timeout=min(left_s, PAUSE_S))


class DiskCalls:
    """Context manager around each disk call of one thread, also within another one; `stalled` may be read by any."""

    def __init__(self) -> None:
        self._since_s: tuple[float, ...] = ()

    def __enter__(self) -> None:
        self._since_s = (*self._since_s, time.monotonic())

    def __exit__(self, *error: object) -> None:
        self._since_s = self._since_s[:-1]

    @property
    def stalled(self) -> bool:
        """Whether a present call has taken too long."""
        since_s = self._since_s
        return bool(since_s) and time.monotonic() - since_s[0] > STALLED_S


class Once:
    """A command that is in two queues, of one thread, and runs once.

    Args:
        command: The command.
    """

    def __init__(self, command: Command) -> None:
        self._command: Command | None = command

    def __call__(self) -> None:
        """Run it, unless it has begun."""
        command, self._command = self._command, None
        if command is not None:
            command()


class Urgent:
    """Queue of urgent commands of the drain thread, which also run while one of its syncs waits for the disk.

    Another thread waits for the disk, so the drain thread can append meanwhile. Every command runs once, in the drain
    thread. `post` never waits.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[Command | None] = SimpleQueue()

    def post(self, command: Command) -> None:
        """Have the command run, if a sync waits for the disk or when the next one does."""
        self._queue.put(command)

    def wait_for_disk(self, call: Callable[[], None]) -> None:
        """Run a call in another thread, and urgent commands in this one until it has ended; raise what it raised."""
        results: list[BaseException | None] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:
                results.append(error)
            else:
                results.append(None)
            self._queue.put(None)

        try:
            threading.Thread(target=run, name="ranklog-sync", daemon=True).start()
        except RuntimeError:  # no more threads, for example while the interpreter ends
            call()
            return
        while not results:
            if (command := self._queue.get()) is not None:
                command()
        if (error := results[0]) is not None:
            raise error
