"""Logger for MLflow."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import DEFAULT_EXPERIMENT, BackendLogger, below, check_run_name, check_text
from ranklog.model.argument_names import named_arguments
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.redact import mask_text, split_userinfo
from ranklog.model.spec import LogFreq, Scalar
from ranklog.model.text import absolute_uri

if TYPE_CHECKING:
    from typing_extensions import Unpack

_SERVERS = ("http", "https")
_DATABASES = ("sqlite", "postgresql", "postgres", "mysql", "mssql")
_OTHERS = ("", "file", "databricks", "databricks-uc", "uc")
_PLUGINS = "mlflow.tracking_store"
"""Entry points of packages that add stores to MLflow."""
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:\d+(/.*)?")


class MLFlowLogger(BackendLogger):
    """Logs to MLflow tracking.

    Args:
        savedir: Directory for everything that is stored.
        experiment_name: MLflow experiment, created if missing; default: the ``experiment`` of `BackendLogger`.
        tracking_uri: MLflow's tracking URI; default: ``MLFLOW_TRACKING_URI``, else an SQLite database in
            ``savedir/mlflow``, one per run on network file systems. A relative path is below the working directory. A
            user and password in it are not written to any file.
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
            "run_name": check_run_name(run_name),
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


def _check_scheme(uri: str) -> None:
    """Check that MLflow has a store for an address.

    Raises:
        InvalidArgumentError: it has none.
    """
    parts = urlsplit(uri)
    kind = parts.scheme.partition("+")[0]
    if (kind in _SERVERS and parts.hostname) or (kind in _DATABASES and "://" in uri) or kind in _OTHERS:
        return
    if kind not in (*_SERVERS, *_DATABASES) and _is_plugin(kind):
        return
    given = mask_text(uri)
    cure = "give http://<server>, https://<server>, sqlite:///<path>, the address of another database, or databricks"
    if _HOST_AND_PORT.fullmatch(uri):
        cure += f" (did you mean {'http://' + uri!r}?)"
    raise InvalidArgumentError(f"tracking_uri={given!r} is not allowed: {cure}")


def _without_secrets(tracking_uri: str | None) -> tuple[str | None, dict[str, str]]:
    """The URI without user and password, and the environment variables that tell them to MLflow."""
    if tracking_uri is None or tracking_uri == "":
        return None, {}
    text = check_text("tracking_uri", tracking_uri)
    try:
        url = split_userinfo(text)
        uri = absolute_uri(url.url)
    except ValueError as error:
        given = mask_text(text)
        raise InvalidArgumentError(f"tracking_uri={given!r} is not allowed: give an address or a path") from error
    _check_scheme(url.url)
    found = {"MLFLOW_TRACKING_USERNAME": url.user, "MLFLOW_TRACKING_PASSWORD": url.password}
    return uri, {name: value for name, value in found.items() if value is not None}


def _is_plugin(scheme: str) -> bool:
    """Whether an installed package adds a store for these URIs to MLflow."""
    from importlib.metadata import entry_points  # here, because its import takes a tenth of that of ranklog

    return scheme in {each.name for each in entry_points(group=_PLUGINS)}
