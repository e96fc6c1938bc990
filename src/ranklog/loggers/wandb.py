"""Logger for Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import BackendLogger, below, check_run_name
from ranklog.model.argument_names import named_arguments
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import LogFreq, Scalar
from ranklog.values.numbers import shown

if TYPE_CHECKING:
    from typing_extensions import Unpack


class WandBLogger(BackendLogger):
    """Logs to Weights & Biases.

    Args:
        savedir: Directory for everything that is stored.
        project_name: W&B project; default: the ``experiment`` of `BackendLogger`, else ``ranklog``.
        offline_mode: Whether to write an offline run below ``savedir/wandb``, for ``wandb sync``.
        run_name: Name of the run; default: ``WANDB_NAME``, else the id of the ranklog run.
        group: Group of the run; default: ``WANDB_RUN_GROUP``, else the job array.
        job_type: Type of the job, for example ``"train"``; default: ``WANDB_JOB_TYPE``.
        notes: Notes about the run; default: ``WANDB_NOTES``.
        tags: Tags of the run, without commas; default: ``WANDB_TAGS``.
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
        offline_mode: bool = False,
        run_name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        notes: str | None = None,
        tags: Sequence[str] = (),
        *,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **run: Unpack[RunArguments],
    ) -> None:
        if not isinstance(offline_mode, bool):
            raise InvalidArgumentError(
                f"offline_mode={shown(offline_mode)} is not allowed: give True or False; log_freq and log_on_workers"
                " are given by name here"
            )
        run.setdefault("experiment", project_name or "ranklog")
        options: dict[str, Scalar] = {
            "savedir": below(savedir, "wandb"),
            "project_name": project_name or run["experiment"],
            "offline_mode": offline_mode,
            "run_name": check_run_name(run_name),
            "group": group,
            "job_type": job_type,
            "notes": notes,
            "tags": ",".join(_check_tags(tags)) or None,
        }
        super().__init__("wandb", options, savedir=savedir, log_freq=log_freq, log_on_workers=log_on_workers, **run)


def _check_tags(tags: object) -> Sequence[str]:
    if isinstance(tags, Sequence) and not isinstance(tags, (str, bytes)):
        texts = [tag for tag in tags if isinstance(tag, str) and "," not in tag]
        if len(texts) == len(tags):
            return texts
    raise InvalidArgumentError(f"tags={shown(tags)} is not allowed: give a list of str without commas")
