"""Aids for testing code that logs, public and used by ranklog's own tests.

`MemoryLogger` keeps what a run delivers in this process, `captured` reads what a run journaled, `FakeWorld` puts
several ranks into one process, one thread each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ranklog.backends.base import RunContext
from ranklog.journal.reader import read_run
from ranklog.logger.logger import Logger
from ranklog.loggers import BackendLogger
from ranklog.model.record import Entry, Metrics, Record, Status
from ranklog.world.fake import FakeWorld

__all__ = ["FakeWorld", "MemoryBackend", "MemoryLogger", "captured", "series"]


class MemoryBackend:
    """A backend that keeps what it is given, by run id, in `MemoryBackend.runs` and `MemoryBackend.statuses`.

    Only of use with ``forward="thread"``, since another process has a memory of its own.
    """

    runs: ClassVar[dict[str, dict[int, Record]]] = {}
    statuses: ClassVar[dict[str, Status | None]] = {}

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Take part in the run."""
        self._run_id = context.facts.run_id
        self.runs.setdefault(self._run_id, {})
        return {"run_id": self._run_id}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Keep entries by their ordinal, so that what comes twice is there once."""
        self.runs[self._run_id].update((entry.ordinal, entry.record) for entry in entries)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Note the status."""
        self.statuses[self._run_id] = status


class MemoryLogger(BackendLogger):
    """Logs into this process's memory.

    Args:
        savedir: Where the run directory lies.
        **common: See `ranklog.loggers.BackendLogger`.
    """

    def __init__(self, savedir: str | Path, **common: Any) -> None:
        super().__init__("memory", savedir=savedir, **{"forward": "thread", **common})


def captured(run: Logger | Path) -> list[Record]:
    """Every record that a run has journaled, in order; ``run`` is an open logger or a run directory."""
    return [entry.record for entry in read_run(run if isinstance(run, Path) else run.run_dir)]


def series(records: Sequence[Record], name: str) -> dict[int, float]:
    """Step to value of one metric; a later value of the same step replaces the earlier one.

    Example:
        >>> series([Metrics(0, 1, -1, {"loss": 2.0}), Metrics(1, 2, -1, {"loss": 1.0})], "loss")
        {0: 2.0, 1: 1.0}
    """
    return {
        record.step: record.values[name] for record in records if isinstance(record, Metrics) and name in record.values
    }
