"""The front of the TensorBoard backend."""

from __future__ import annotations

import os
from typing import Any

from ranklog.loggers.base import BackendLogger, below
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import Scalar


class TensorBoardLogger(BackendLogger):
    """Writes TensorBoard event files below ``savedir/tensorboard``, a folder a run.

    Args:
        savedir: Where everything is stored.
        framework: ``"pytorch"`` or ``"tensorflow"``; both write the same files and need neither.
        **common: See `BackendLogger`.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", framework: str = "pytorch", **common: Any) -> None:
        if str(framework).lower() not in ("pytorch", "tensorflow"):
            raise InvalidArgumentError(
                f'framework={framework!r} is not allowed: give "pytorch" or "tensorflow"; log_freq and log_on_workers'
                " are given by name here"
            )
        options: dict[str, Scalar] = {"savedir": below(savedir, "tensorboard"), "framework": framework.lower()}
        super().__init__("tensorboard", options, savedir=savedir, **common)
