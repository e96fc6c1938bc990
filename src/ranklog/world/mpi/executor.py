"""Executors run ranklog's MPI calls: in the waiting thread, or only in the main thread if MPI requires it.

In: `Steps`, which never block. Out: their result, in the thread that asked for it, or `OverdueError`. No call is made
once the process ends, because MPI must not be called while it shuts down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from ranklog.model.errors import WorldError
from ranklog.world.mpi.messages import Steps

T = TypeVar("T")

_FIRST_PAUSE_S = 0.0001
_LOOK_S = 0.05
_END_S = 5.0


class OverdueError(Exception):
    """The time limit was reached, or the caller stopped waiting."""


class Executor(Protocol):
    """Runs steps."""

    @property
    def progress(self) -> Callable[[], None] | None:
        """Function that the training thread must call; see `ranklog.abc.Strategy`."""

    def run(self, steps: Steps[T], *, timeout_s: float, pause_s: float, stop: threading.Event | None = None) -> T:
        """Run steps and return their result; ``pause_s`` is the longest pause between two of them."""

    def submit(self, work: Callable[[], None]) -> None:
        """Run work that never blocks, now or at the next chance. Nothing waits for it."""

    def end(self) -> bool:
        """Stop making calls; return whether the caller may call MPI now."""


class AnyThreadExecutor:
    """Runs steps in the thread that waits for them. For MPI with ``MPI_THREAD_MULTIPLE``.

    Args:
        mpi: The module ``mpi4py.MPI``.
    """

    progress = None

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._lock = threading.Lock()
        self._ended = False

    def run(self, steps: Steps[T], *, timeout_s: float, pause_s: float, stop: threading.Event | None = None) -> T:
        """Run one step after the other, with growing pauses."""
        end_s = time.monotonic() + timeout_s
        next_s = _FIRST_PAUSE_S
        while True:
            with self._lock:
                if self._ended or self._mpi.Is_finalized():
                    raise WorldError("MPI has ended in this process")
                try:
                    if next(steps):
                        next_s = _FIRST_PAUSE_S
                except StopIteration as done:
                    result: T = done.value
                    return result
            left_s = end_s - time.monotonic()
            if left_s <= 0 or (stop is not None and stop.is_set()):
                raise OverdueError
            time.sleep(min(next_s, left_s))
            next_s = min(next_s * 1.25, pause_s)

    def submit(self, work: Callable[[], None]) -> None:
        """Run it now, or not at all in a signal handler that has interrupted a step."""
        if self._lock.acquire(timeout=_LOOK_S):
            try:
                if not self._ended and not self._mpi.Is_finalized():
                    work()
            finally:
                self._lock.release()

    def end(self) -> bool:
        """Stop running steps, and wait until no other thread is inside one."""
        self._ended = True
        if not self._lock.acquire(timeout=_END_S):
            return False
        self._lock.release()
        return not self._mpi.Is_finalized()


class _Task(Generic[T]):
    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._result: T
        self._error: BaseException | None = None
        self.begun = False
        self.done = threading.Event()

    def step(self) -> None:
        self.begun = True
        try:
            next(self._steps)
        except StopIteration as done:
            self._result = done.value
            self.done.set()
        except BaseException as error:
            self._error = error
            self.done.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result


class MainThreadExecutor:
    """Runs steps in the main thread at each call of `progress`. For MPI that allows no other thread.

    Args:
        mpi: The module ``mpi4py.MPI``.
    """

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._lock = threading.Lock()
        self._tasks: list[_Task[Any]] = []
        self._ended = False

    def progress(self) -> None:
        """Run one step of each pending task. Returns at once; does nothing in other threads."""
        if self._tasks:
            self._step()

    def _step(self) -> None:
        if self._mpi.Is_finalized() or not self._mpi.Is_thread_main() or not self._lock.acquire(blocking=False):
            return
        try:
            for task in tuple(self._tasks):
                task.step()
                if task.done.is_set():
                    self._tasks.remove(task)
        finally:
            self._lock.release()

    def run(self, steps: Steps[T], *, timeout_s: float, pause_s: float, stop: threading.Event | None = None) -> T:
        """Queue steps and wait until the training thread has run the last one; that thread itself runs them here."""
        end_s = time.monotonic() + timeout_s
        task = _Task(steps)
        self._add(task)
        look_s = pause_s if self._mpi.Is_thread_main() else _LOOK_S
        self.progress()
        while not task.done.wait(max(min(look_s, end_s - time.monotonic()), 0.0)):
            self.progress()
            if time.monotonic() >= end_s or (stop is not None and stop.is_set()):
                with self._lock:
                    if task in self._tasks:
                        self._tasks.remove(task)
                if not task.begun:
                    raise WorldError(
                        "only the training thread may call MPI here, but it has not logged anything in this time: log"
                        " more often, or initialise MPI with MPI_THREAD_MULTIPLE, as mpi4py does by default"
                    )
                if not task.done.is_set():
                    raise OverdueError
        return task.result()

    def _add(self, task: _Task[Any]) -> None:
        if self._ended or self._mpi.Is_finalized():
            raise WorldError("MPI has ended in this process")
        self._tasks.append(task)

    def submit(self, work: Callable[[], None]) -> None:
        """Run it now in the main thread, else at its next `progress`."""

        def steps() -> Steps[None]:
            work()
            yield from ()

        try:
            self._add(_Task(steps()))
        except WorldError:
            return
        self.progress()

    def end(self) -> bool:
        """Stop running steps."""
        self._ended = True
        self._tasks.clear()
        return not self._mpi.Is_finalized() and bool(self._mpi.Is_thread_main())
