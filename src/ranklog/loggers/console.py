"""Logger for the console."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import BackendLogger, below
from ranklog.model.argument_names import named_arguments
from ranklog.model.spec import LogFreq

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ConsoleLogger(BackendLogger):
    """Prints one line per step on rank 0 and saves files below ``savedir/console``.

    Args:
        savedir: Directory for everything that is stored.
        log_freq: See `BackendLogger`.
        log_on_workers: See `BackendLogger`.
        **run: See `BackendLogger`.

    Raises:
        InvalidArgumentError: an argument is unknown or has a value that is not allowed.

    Ranks: see `BackendLogger`.
    """

    @named_arguments(RunArguments)
    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **run: Unpack[RunArguments],
    ) -> None:
        super().__init__(
            "console",
            {"savedir": below(savedir, "console")},
            savedir=savedir,
            log_freq=log_freq,
            log_on_workers=log_on_workers,
            **run,
        )
