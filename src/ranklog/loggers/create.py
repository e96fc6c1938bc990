"""Makes loggers from names of backends."""

from __future__ import annotations

import os
from typing import Any

from ranklog.logger.logger import Logger
from ranklog.loggers.base import BackendLogger
from ranklog.loggers.collection import LoggersCollection
from ranklog.loggers.console import ConsoleLogger
from ranklog.loggers.csv import CSVLogger
from ranklog.loggers.mlflow import MLFlowLogger
from ranklog.loggers.opentelemetry import OpenTelemetryLogger
from ranklog.loggers.plain import EmptyLogger, JournalLogger
from ranklog.loggers.prov import Prov4MLLogger
from ranklog.loggers.tensorboard import TensorBoardLogger
from ranklog.loggers.trackio import TrackioLogger
from ranklog.loggers.wandb import WandBLogger
from ranklog.model.errors import InvalidArgumentError

_BY_NAME: dict[str, type[BackendLogger]] = {
    "console": ConsoleLogger,
    "csv": CSVLogger,
    "opentelemetry": OpenTelemetryLogger,
    "trackio": TrackioLogger,
    "mlflow": MLFlowLogger,
    "wandb": WandBLogger,
    "tensorboard": TensorBoardLogger,
    "prov": Prov4MLLogger,
    "journal": JournalLogger,
}


def backend_names(backends: str | None) -> list[str]:
    """Names of backends from a text with commas; see `create_logger`.

    Example:
        >>> backend_names("mlflow, console"), backend_names("none")
        (['mlflow', 'console'], [])
    """
    text = backends if backends is not None else os.environ.get("RANKLOG_BACKENDS", "mlflow")
    return [name for part in text.split(",") if (name := part.strip()) and name != "none"]


def create_logger(
    backends: str | None = None, *, options: dict[str, dict[str, Any]] | None = None, **common: Any
) -> Logger:
    """Make a logger from names of backends.

    Args:
        backends: Names with commas, for example ``"mlflow,tensorboard"``; None takes ``RANKLOG_BACKENDS``, else
            ``mlflow``. ``"none"`` or an empty text logs nothing. Other names are looked up among the installed
            third-party backends when the run is delivered.
        options: Arguments for one backend by its name, for example ``{"mlflow": {"experiment_name": "exp"}}``.
        **common: For all of them; see `BackendLogger`.

    Raises:
        InvalidArgumentError: a name is given twice, or options are for a backend that is not among them.
    """
    names = backend_names(backends)
    options = options or {}
    for name in options:
        if name not in names:
            raise InvalidArgumentError(f"options for {name!r}, which is not among the backends {names}")
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"backends={','.join(names)!r} names one twice")
    members: list[Logger] = []
    for name in names:
        own = options.get(name, {})
        if name in _BY_NAME:
            members.append(_BY_NAME[name](**{**common, **own}))
        else:
            members.append(BackendLogger(name, dict(own), **common))
    if not members:
        return EmptyLogger()
    return members[0] if len(members) == 1 else LoggersCollection(members)
