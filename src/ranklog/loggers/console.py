"""The front of the console backend."""

from __future__ import annotations

import os
from typing import Any

from ranklog.loggers.base import BackendLogger, below


class ConsoleLogger(BackendLogger):
    """Prints a line a step on rank 0 and saves files beside, below ``savedir/console``.

    Args:
        savedir: Where everything is stored.
        **common: See `BackendLogger`.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", **common: Any) -> None:
        super().__init__("console", {"savedir": below(savedir, "console")}, savedir=savedir, **common)
