"""Makes loggers from names of backends."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ranklog.logger.logger import Logger
from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import BackendLogger, check_text
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
from ranklog.model.argument_names import closest, explicit_arguments, named_arguments
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import LogFreq
from ranklog.values.numbers import shown

if TYPE_CHECKING:
    from typing_extensions import Unpack

_BY_NAME: dict[str, Callable[..., BackendLogger]] = {
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
    """Return the names of backends in a comma-separated text; see `create_logger`.

    Raises:
        InvalidArgumentError: ``backends`` is no str.

    Ranks: any may call.

    Example:
        >>> backend_names("mlflow, console"), backend_names("none")
        (['mlflow', 'console'], [])
    """
    text = os.environ.get("RANKLOG_BACKENDS", "mlflow") if backends is None else check_text("backends", backends)
    return [name for part in text.split(",") if (name := part.strip()) and name != "none"]


def _of_a_backend(name: str) -> str | None:
    """Advice for an argument of `create_logger` that only one backend's logger has."""
    owner = next((each for each, make in _BY_NAME.items() if name in explicit_arguments(make.__init__)), None)
    return f'give options={{"{owner}": {{"{name}": …}}}}' if owner else None


@named_arguments(RunArguments, hint=_of_a_backend)
def create_logger(
    backends: str | None = None,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    savedir: str | os.PathLike[str] = "mllogs",
    log_freq: LogFreq = "epoch",
    log_on_workers: int | Sequence[int] = 0,
    **run: Unpack[RunArguments],
) -> Logger:
    """Make a logger from names of backends.

    Args:
        backends: Comma-separated names, for example ``"mlflow,tensorboard"``; default: ``RANKLOG_BACKENDS``, else
            ``mlflow``. ``"none"`` or an empty text logs nothing. Names of third-party backends are looked up in the
            entry-point group ``ranklog.backends`` at delivery.
        options: Arguments for single backends, for example ``{"mlflow": {"experiment_name": "exp"}}``. They take
            precedence over the arguments for all backends.
        savedir: Directory for everything that is stored.
        log_freq: See `BackendLogger`.
        log_on_workers: See `BackendLogger`.
        **run: For all backends; see `BackendLogger`.

    Raises:
        InvalidArgumentError: an argument or option is unknown or has a value that is not allowed, a backend is named
            twice, or options are for a backend that is not named.

    Ranks: every rank makes its logger with the same arguments; this does not block.
    """
    names = backend_names(backends)
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"backends={','.join(names)!r} names a backend twice")
    own = _check_options(options, names)
    common: dict[str, Any] = {"savedir": savedir, "log_freq": log_freq, "log_on_workers": log_on_workers, **run}
    members: list[Logger] = []
    for name in names:
        if name in _BY_NAME:
            members.append(_BY_NAME[name](**{**common, **own.get(name, {})}))
        else:
            members.append(BackendLogger(name, own.get(name), **common))
    if not members:
        return EmptyLogger(savedir, log_freq, log_on_workers)
    return members[0] if len(members) == 1 else LoggersCollection(members)


def _check_options(options: object, names: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return options when they are mappings by the name of a backend."""
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(own, Mapping) for own in options.values()):
        raise InvalidArgumentError(
            f"options={shown(options)} is not allowed: give arguments by backend, for example"
            ' {"mlflow": {"experiment_name": "exp"}}'
        )
    for name in options:
        if name not in names:
            close = closest(str(name), names)
            raise InvalidArgumentError(
                f"options for {name!r}, which is not among the backends {', '.join(names)}"
                + (f": did you mean {close!r}?" if close else "")
            )
    return options
