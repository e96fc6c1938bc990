"""The front of the CSV backend."""

from __future__ import annotations

import os
from typing import Any

from ranklog.loggers.base import BackendLogger, below


class CSVLogger(BackendLogger):
    """Writes plain files below ``savedir/csv``, a folder a run: metrics as CSV, the rest as JSON and files.

    Args:
        savedir: Where everything is stored.
        **common: See `BackendLogger`.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", **common: Any) -> None:
        super().__init__("csv", {"savedir": below(savedir, "csv")}, savedir=savedir, **common)
