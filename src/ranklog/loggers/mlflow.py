"""Logger for MLflow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import DEFAULT_EXPERIMENT, BackendLogger, below, check_text
from ranklog.model.argument_names import named_arguments
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import LogFreq, Scalar

if TYPE_CHECKING:
    from typing_extensions import Unpack


class MLFlowLogger(BackendLogger):
    """Logs to MLflow tracking.

    Args:
        savedir: Directory for everything that is stored.
        experiment_name: MLflow experiment, created if missing; default: the ``experiment`` of `BackendLogger`.
        tracking_uri: MLflow's tracking URI; default: ``MLFLOW_TRACKING_URI``, else an SQLite database in
            ``savedir/mlflow``. A relative path is below the working directory. A user and password in it are not
            written to any file.
        run_description: Description of the run.
        run_name: Name of the run; default: the id of the ranklog run.
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
        experiment_name: str | None = None,
        tracking_uri: str | None = None,
        run_description: str | None = None,
        run_name: str | None = None,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **run: Unpack[RunArguments],
    ) -> None:
        run.setdefault("experiment", experiment_name or DEFAULT_EXPERIMENT)
        uri, secrets = _without_secrets(tracking_uri)
        options: dict[str, Scalar] = {
            "savedir": below(savedir, "mlflow"),
            "experiment_name": experiment_name or run["experiment"],
            "tracking_uri": uri,
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
            **run,
        )


def _without_secrets(tracking_uri: str | None) -> tuple[str | None, dict[str, str]]:
    """The URI without user and password, and the environment variables that tell them to MLflow."""
    from ranklog.model.redact import mask_text, split_userinfo
    from ranklog.model.text import absolute_uri

    if tracking_uri is None or tracking_uri == "":
        return None, {}
    text = check_text("tracking_uri", tracking_uri)
    try:
        url = split_userinfo(text)
        uri = absolute_uri(url.url)
    except ValueError as error:
        given = mask_text(text)
        raise InvalidArgumentError(f"tracking_uri={given!r} is not allowed: give an address or a path") from error
    found = {"MLFLOW_TRACKING_USERNAME": url.user, "MLFLOW_TRACKING_PASSWORD": url.password}
    return uri, {name: value for name, value in found.items() if value is not None}
