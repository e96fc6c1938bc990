"""Background worker for slow jobs such as copying large files. One thread, started on first use.

In: jobs, each a function that returns records or pending items, under the name of the item they are about. Out: their
results, in the inbox. Guarantees: jobs run one after the other in the order of the calls. A job that fails is reported,
and the next one runs. No lock is taken, so that a signal handler may call in the middle of another call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from ranklog.abc import Job, PendingItem
from ranklog.model.record import Record
from ranklog.pipeline.waiting import Reply
from ranklog.world.progress import Progress


class Background:
    """A thread for slow jobs.

    Args:
        give: Takes each result of a job.
        failed: Called with the name and the error of a job that failed.
    """

    def __init__(self, give: Callable[[Record | PendingItem], None], failed: Callable[[str, Exception], None]) -> None:
        self._give = give
        self._failed = failed
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._unfinished: dict[object, str] = {}
        self._sizes: dict[object, int] = {}
        self._claim = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._begun_s: float | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of contents that wait with the jobs."""
        return sum(list(self._sizes.values()))

    @property
    def busy_s(self) -> float:
        """Seconds since the present job began; 0 without one."""
        begun_s = self._begun_s
        return 0.0 if begun_s is None else time.monotonic() - begun_s

    def put(self, name: str, job: Job, size: int = 0) -> None:
        """Run a job after those before it. ``size`` is the bytes of contents that it holds in memory."""
        token = object()
        if size:
            self._sizes[token] = size
        self._unfinished[token] = name

        def work() -> None:
            self._begun_s = time.monotonic()
            try:
                if not self._closed:
                    for result in job():
                        self._give(result)
            except Exception as error:  # the next job must run whatever happened to this one
                self._failed(name, error)
            finally:
                self._begun_s = None
                self._unfinished.pop(token, None)
                self._sizes.pop(token, None)

        self._work.put(work)
        if self._thread is None and self._claim.acquire(blocking=False):
            thread = threading.Thread(target=self._run, name="ranklog-background", daemon=True)
            try:
                thread.start()
            except BaseException:
                self._claim.release()  # the next job tries again
                raise
            self._thread = thread

    def is_busy(self, name: str) -> bool:
        """Whether a job under this name is not done, so that later calls under this name must wait behind it."""
        return name in list(self._unfinished.values())

    def wait(self, deadline_s: float, progress: Progress | None = None) -> bool:
        """Wait until all jobs so far are done; returns whether they were done in time."""
        return bool(self._reached().wait(deadline_s, progress))

    def barrier(self) -> Callable[[], bool]:
        """A function that says whether all jobs so far are done."""
        reached = self._reached()
        return lambda: reached.given

    def _reached(self) -> Reply[bool]:
        reached: Reply[bool] = Reply()
        if self._unfinished:
            self._work.put(lambda: reached.give(True))
        else:
            reached.give(True)
        return reached

    def close(self) -> list[str]:
        """Stop after the present job; returns the names of jobs that are not done."""
        self._closed = True
        left = sorted(self._unfinished.copy().values())
        self._work.put(None)
        return left

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
