"""Index of a run for all threads of a process: opened at the first question, and asked one question at a time.

Guarantees: damage of the cache does not reach the caller, because the index is built again. A forked child opens its
own index, and never writes through what it inherited.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ranklog.view.index.columns import DamagedBlockError
from ranklog.view.index.run_index import RunIndex

Answer = TypeVar("Answer")


class SharedIndex:
    """Index that is opened when it is needed, and again after `close`.

    Args:
        run_dir: The run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._index: RunIndex | None = None
        self._guard = threading.RLock()
        self._pid = os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether files are open in this process."""
        return self._index is not None and self._pid == os.getpid()

    def ask(self, question: Callable[[RunIndex], Answer]) -> Answer:
        """Return the answer of a question. It is asked again with a new index if the cache turns out to be damaged.

        Raises:
            RunNotFoundError: the run directory is gone.
        """
        with self._own_guard():
            if self._index is None:
                self._index = RunIndex(self._run_dir)
                self._index.refresh()
            try:
                return question(self._index)
            except DamagedBlockError:
                self._index.rebuild()
                self._index.refresh()
                return question(self._index)

    def close(self) -> None:
        """Save what was read, close all files, and give the cache to other processes."""
        with self._own_guard():
            if self._index is not None:
                self._index.close()
            self._index = None

    def _own_guard(self) -> threading.RLock:
        """Return the lock of this process; in a forked child, forget the parent's lock and index."""
        if self._pid != os.getpid():
            self._guard, self._index, self._pid = threading.RLock(), None, os.getpid()
        return self._guard
