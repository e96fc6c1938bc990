"""Helpers for testing code that logs. They are public, and ranklog's own tests use them.

`MemoryLogger` keeps delivered records in this process. `captured` reads the records of a run from its journal.
`FakeWorld` puts several ranks into one process, one thread per rank.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ranklog.abc import RunContext
from ranklog.journal.reader import read_run
from ranklog.logger.logger import Logger
from ranklog.loggers import BackendLogger
from ranklog.loggers.arguments import RunArguments
from ranklog.model.argument_names import named_arguments
from ranklog.model.record import Entry, Metrics, Record, Status
from ranklog.model.spec import LogFreq
from ranklog.world.fake import FakeWorld

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["FakeWorld", "MemoryBackend", "MemoryLogger", "captured", "series"]


class MemoryBackend:
    """A backend that keeps records and statuses by run id, in `MemoryBackend.runs` and `MemoryBackend.statuses`.

    Use it with ``forward="thread"``: another process has its own memory.
    """

    runs: ClassVar[dict[str, dict[int, Record]]] = {}
    statuses: ClassVar[dict[str, Status | None]] = {}

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Start to take records of a run."""
        self._run_id = context.facts.run_id
        self.runs.setdefault(self._run_id, {})
        return {"run_id": self._run_id}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Keep entries by their ordinal, so that an entry that arrives twice is kept once."""
        self.runs[self._run_id].update((entry.ordinal, entry.record) for entry in entries)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Keep the status."""
        self.statuses[self._run_id] = status


class MemoryLogger(BackendLogger):
    """Logs into the memory of this process.

    Args:
        savedir: Directory for the run directory.
        log_freq: See `ranklog.loggers.BackendLogger`.
        log_on_workers: See `ranklog.loggers.BackendLogger`.
        **run: See `ranklog.loggers.BackendLogger`; ``forward`` is ``"thread"`` by default.

    Raises:
        InvalidArgumentError: an argument is unknown or has a value that is not allowed.

    Ranks: see `ranklog.loggers.BackendLogger`.
    """

    @named_arguments(RunArguments)
    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        *,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **run: Unpack[RunArguments],
    ) -> None:
        run.setdefault("forward", "thread")
        super().__init__("memory", savedir=savedir, log_freq=log_freq, log_on_workers=log_on_workers, **run)


def captured(run: Logger | Path) -> list[Record]:
    """Return the records in the journal of a run, in order.

    Args:
        run: An open or closed logger, or a run directory.

    Raises:
        NotStartedError: the logger was never open.
        RanklogError: the logger logs nothing, or its run is not known yet on this rank.

    Ranks: any may call; reads files.
    """
    return [entry.record for entry in read_run(run if isinstance(run, Path) else run.run_dir)]


def series(records: Sequence[Record], name: str) -> dict[int, float]:
    """Return the values of one metric by step. A later value of the same step replaces an earlier one.

    Example:
        >>> series([Metrics(0, 1, -1, {"loss": 2.0}), Metrics(1, 2, -1, {"loss": 1.0})], "loss")
        {0: 2.0, 1: 1.0}
    """
    return {
        record.step: record.values[name] for record in records if isinstance(record, Metrics) and name in record.values
    }
