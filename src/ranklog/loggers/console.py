"""The front of the console backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ranklog.loggers.base import BackendLogger, below
from ranklog.model.spec import LogFreq


class ConsoleLogger(BackendLogger):
    """Prints a line a step on rank 0 and saves files beside, below ``savedir/console``.

    Args:
        savedir: Where everything is stored.
        log_freq: See `BackendLogger`.
        log_on_workers: See `BackendLogger`.
        **common: See `BackendLogger`.
    """

    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **common: Any,
    ) -> None:
        super().__init__(
            "console",
            {"savedir": below(savedir, "console")},
            savedir=savedir,
            log_freq=log_freq,
            log_on_workers=log_on_workers,
            **common,
        )
