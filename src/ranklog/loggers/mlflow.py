"""The front of the MLflow backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ranklog.loggers.base import DEFAULT_EXPERIMENT, BackendLogger, below
from ranklog.model.spec import LogFreq, Scalar


class MLFlowLogger(BackendLogger):
    """Logs to MLflow tracking.

    Args:
        savedir: Where everything is stored.
        experiment_name: MLflow experiment, created if missing; None takes the ``experiment`` of `BackendLogger`.
        tracking_uri: MLflow's tracking URI; None takes ``MLFLOW_TRACKING_URI``, else an embedded SQLite database
            in ``savedir/mlflow``. A relative path in either is below the working directory. A user and password are
            kept out of every file.
        run_description: Shown by MLflow as the run's description.
        run_name: Name of the run; the id of the ranklog run by default.
        log_freq: See `BackendLogger`.
        log_on_workers: See `BackendLogger`.
        **common: See `BackendLogger`.
    """

    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        experiment_name: str | None = None,
        tracking_uri: str | None = None,
        run_description: str | None = None,
        run_name: str | None = None,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **common: Any,
    ) -> None:
        from ranklog.model.redact import split_userinfo
        from ranklog.model.uri import absolute_uri

        common.setdefault("experiment", experiment_name or DEFAULT_EXPERIMENT)
        url = split_userinfo(tracking_uri) if tracking_uri else None
        secrets = {
            name: value
            for name, value in (
                ("MLFLOW_TRACKING_USERNAME", url.user if url else None),
                ("MLFLOW_TRACKING_PASSWORD", url.password if url else None),
            )
            if value is not None
        }
        options: dict[str, Scalar] = {
            "savedir": below(savedir, "mlflow"),
            "experiment_name": experiment_name or common["experiment"],
            "tracking_uri": absolute_uri(url.url) if url else None,
            "run_description": run_description,
            "run_name": run_name,
        }
        super().__init__(
            "mlflow",
            options,
            savedir=savedir,
            log_freq=log_freq,
            log_on_workers=log_on_workers,
            secrets=secrets,
            **common,
        )
