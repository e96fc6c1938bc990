"""Loggers without a backend: one that journals only, and one that does nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranklog.logger.logger import Logger
from ranklog.loggers.base import BackendLogger
from ranklog.model.config import SessionConfig
from ranklog.model.spec import LogFreq, check_log_freq, check_log_on_workers


class JournalLogger(BackendLogger):
    """Writes the journal only; `ranklog sync RUN --to …` delivers it later, anywhere.

    Args:
        savedir: Where everything is stored.
        **common: See `BackendLogger`.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", **common: Any) -> None:
        super().__init__(None, savedir=savedir, **common)


class EmptyLogger(Logger):
    """Logs nothing; takes the arguments of every logger.

    Args:
        savedir: Not used.
        log_freq: Checked, not used.
        log_on_workers: Checked, not used.
        **common: Not used.
    """

    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **common: Any,
    ) -> None:
        check_log_freq(log_freq)
        check_log_on_workers(log_on_workers)
        root = Path(savedir).absolute()
        super().__init__(SessionConfig(specs=(), directory=root / "runs", experiment=""), root)
