"""Logger for Trackio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import DEFAULT_EXPERIMENT, BackendLogger, below
from ranklog.model.argument_names import named_arguments
from ranklog.model.spec import LogFreq, Scalar

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TrackioLogger(BackendLogger):
    """Logs to a Trackio project in ``savedir/trackio``. ``TRACKIO_DIR=savedir/trackio trackio show`` displays it.

    Args:
        savedir: Directory for everything that is stored.
        project_name: Trackio project; default: the ``experiment`` of `BackendLogger`. Trackio keeps only letters,
            digits, ``-`` and ``_`` of the name.
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
        project_name: str | None = None,
        *,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **run: Unpack[RunArguments],
    ) -> None:
        run.setdefault("experiment", project_name or DEFAULT_EXPERIMENT)
        options: dict[str, Scalar] = {
            "savedir": below(savedir, "trackio"),
            "project_name": project_name or run["experiment"],
        }
        super().__init__("trackio", options, savedir=savedir, log_freq=log_freq, log_on_workers=log_on_workers, **run)
