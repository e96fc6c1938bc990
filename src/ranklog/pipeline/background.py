"""Does beside training what takes long, such as copying large files: one thread, which starts with the first job.

In: jobs, each a function that gives records or parcels, under the name of the item they are about. Out: what they
give, into the inbox. Guarantees: jobs are done one after the other in the order in which they came; one that fails
is counted and said, the next goes on. `wait` and `close` keep their time limit.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

Job = Callable[[], Iterable[Any]]


class Aside:
    """A thread for what takes long.

    Args:
        give: Takes what a job gives.
        failed: Told the name and the error of a job that failed.
    """

    def __init__(self, give: Callable[[Iterable[Any]], None], failed: Callable[[str, Exception], None]) -> None:
        self._give = give
        self._failed = failed
        self._jobs: deque[tuple[str, Job]] = deque()
        self._names: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, name: str, job: Job) -> None:
        """Have a job done."""
        with self._changed:
            self._jobs.append((name, job))
            self._names[name] += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ranklog-aside", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def is_busy(self, name: str) -> bool:
        """Whether a job under this name is not done: what is logged under it must come after."""
        return self._names[name] > 0

    def wait(self, timeout_s: float) -> bool:
        """Wait until all jobs so far are done; whether that was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._names.total(), timeout_s)

    def close(self, timeout_s: float) -> list[str]:
        """Do what is left within the time and stop; names of what was not done."""
        deadline = time.monotonic() + timeout_s
        self.wait(timeout_s)
        with self._changed:
            self._closed = True
            self._jobs.clear()
            left = sorted(self._names.elements())
            self._changed.notify_all()
        if self._thread is not None and not left:
            self._thread.join(max(deadline - time.monotonic(), 0.0))
        return left

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    return
                name, job = self._jobs.popleft()
            try:
                self._give(job())
            except Exception as error:  # the next job must be done whatever happened to this one
                self._failed(name, error)
            finally:
                with self._changed:
                    self._names[name] -= 1
                    self._changed.notify_all()
