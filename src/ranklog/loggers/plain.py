"""Loggers without a backend: one writes the journal only, the other does nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.logger.logger import Logger
from ranklog.loggers.arguments import EveryArgument, RunArguments
from ranklog.loggers.base import BackendLogger, absolute
from ranklog.model.argument_names import named_arguments
from ranklog.model.config import SessionConfig
from ranklog.model.spec import LogFreq, check_log_freq, check_log_on_workers

if TYPE_CHECKING:
    from typing_extensions import Unpack


class JournalLogger(BackendLogger):
    """Writes the journal only. ``ranklog sync RUN --to …`` delivers it later, to any backend.

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
        *,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **run: Unpack[RunArguments],
    ) -> None:
        super().__init__(None, savedir=savedir, log_freq=log_freq, log_on_workers=log_on_workers, **run)


class EmptyLogger(Logger):
    """Logs nothing. Takes the arguments of every logger, so that it can replace any of them.

    Args:
        savedir: Checked, not used.
        log_freq: Checked, not used.
        log_on_workers: Checked, not used.
        **ignored: Arguments of other loggers; not used.

    Raises:
        InvalidArgumentError: no logger has an argument of that name, or a checked one has a value that is not allowed.

    Ranks: any may make one; this does not block.
    """

    @named_arguments(EveryArgument)
    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **ignored: Unpack[EveryArgument],
    ) -> None:
        check_log_freq(log_freq)
        check_log_on_workers(log_on_workers)
        root = absolute("savedir", savedir)
        super().__init__(SessionConfig(specs=(), directory=root / "runs", experiment=""), root)
