"""The front of the Trackio backend."""

from __future__ import annotations

import os
from typing import Any

from ranklog.loggers.base import DEFAULT_EXPERIMENT, BackendLogger, below
from ranklog.model.spec import Scalar


class TrackioLogger(BackendLogger):
    """Logs to a Trackio project in ``savedir/trackio``; ``TRACKIO_DIR=savedir/trackio trackio show`` shows it.

    Args:
        savedir: Where everything is stored.
        project_name: Trackio project; None takes the ``experiment`` of `BackendLogger`. Trackio keeps its letters,
            digits, ``-`` and ``_``.
        **common: See `BackendLogger`.
    """

    def __init__(
        self, savedir: str | os.PathLike[str] = "mllogs", project_name: str | None = None, **common: Any
    ) -> None:
        common.setdefault("experiment", project_name or DEFAULT_EXPERIMENT)
        options: dict[str, Scalar] = {
            "savedir": below(savedir, "trackio"),
            "project_name": project_name or common["experiment"],
        }
        super().__init__("trackio", options, savedir=savedir, **common)
