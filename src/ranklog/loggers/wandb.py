"""The front of the Weights & Biases backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ranklog.loggers.base import BackendLogger, below
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import Scalar


class WandBLogger(BackendLogger):
    """Logs to Weights & Biases.

    Args:
        savedir: Where everything is stored.
        project_name: W&B project; None takes the ``experiment`` of `BackendLogger`, else ``ranklog``.
        offline_mode: Whether to write an offline run below ``savedir/wandb``, for `wandb sync`.
        run_name: Name of the run; ``WANDB_NAME``, else the id of the ranklog run by default.
        group: Group of the run; ``WANDB_RUN_GROUP``, else the job array by default.
        job_type: Type of the job, for example ``"train"``; ``WANDB_JOB_TYPE`` by default.
        notes: Notes about the run; ``WANDB_NOTES`` by default.
        tags: Tags of the run, without commas; ``WANDB_TAGS`` by default.
        **common: See `BackendLogger`.
    """

    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        project_name: str | None = None,
        offline_mode: bool = False,
        run_name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        notes: str | None = None,
        tags: Sequence[str] = (),
        **common: Any,
    ) -> None:
        if not isinstance(offline_mode, bool):
            raise InvalidArgumentError(
                f"offline_mode={offline_mode!r} is not allowed: give True or False; log_freq and log_on_workers are"
                " given by name here"
            )
        common.setdefault("experiment", project_name or "ranklog")
        options: dict[str, Scalar] = {
            "savedir": below(savedir, "wandb"),
            "project_name": project_name or common["experiment"],
            "offline_mode": offline_mode,
            "run_name": run_name,
            "group": group,
            "job_type": job_type,
            "notes": notes,
            "tags": ",".join(tags) or None,
        }
        super().__init__("wandb", options, savedir=savedir, **common)
