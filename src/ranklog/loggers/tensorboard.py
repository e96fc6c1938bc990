"""Logger for TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import BackendLogger, below
from ranklog.model.argument_names import named_arguments
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import LogFreq, Scalar
from ranklog.values.numbers import shown

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TensorBoardLogger(BackendLogger):
    """Writes TensorBoard event files below ``savedir/tensorboard``, one folder per run.

    Args:
        savedir: Directory for everything that is stored.
        framework: ``"pytorch"`` or ``"tensorflow"``. Both write the same files and need neither framework.
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
        framework: str = "pytorch",
        *,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **run: Unpack[RunArguments],
    ) -> None:
        if not isinstance(framework, str) or framework.lower() not in ("pytorch", "tensorflow"):
            raise InvalidArgumentError(
                f'framework={shown(framework)} is not allowed: give "pytorch" or "tensorflow"; log_freq and'
                " log_on_workers are given by name here"
            )
        options: dict[str, Scalar] = {"savedir": below(savedir, "tensorboard"), "framework": framework.lower()}
        super().__init__(
            "tensorboard", options, savedir=savedir, log_freq=log_freq, log_on_workers=log_on_workers, **run
        )
