"""The logger classes: each is the front of a backend, as data, plus the one `Logger`.

Names and arguments are those of `itwinai.loggers`. Nothing here imports a backend's package: the client lives on
the delivery side, in another process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ranklog.capture.config import SessionConfig
from ranklog.capture.gate import Gate
from ranklog.capture.logger import Logger
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.kinds import check_op
from ranklog.model.spec import (
    JOURNAL,
    BackendSpec,
    Forward,
    LogFreq,
    Resume,
    Scalar,
    check_forward,
    check_log_freq,
    check_log_on_workers,
    check_resume,
    check_run_id,
)

if TYPE_CHECKING:
    from ranklog.capture.session import Session
    from ranklog.world.base import Strategy
    from ranklog.world.foreign import RanksTeller

__all__ = [
    "ConsoleLogger",
    "EmptyLogger",
    "JournalLogger",
    "Logger",
    "LoggersCollection",
    "MLFlowLogger",
    "TensorBoardLogger",
    "WandBLogger",
    "create_logger",
]


DEFAULT_EXPERIMENT = "Default experiment"


class BackendLogger(Logger):
    """A logger to one backend, named as in the entry-point group ``ranklog.backends``.

    Args:
        backend: Name of the backend; None journals only.
        options: The backend's own settings.
        savedir: Everything is stored below it; runs in ``runs/`` there, or in ``RANKLOG_DIR``.
        log_freq: ``"epoch"``: calls without ``batch_idx`` count; an int n: also every n-th batch; ``"batch"``: all.
        log_on_workers: The ranks that log: one, a list, or -1 for all. Reduced metrics take every rank.
        strategy: ``"auto"``, ``"single"``, ``"torch"``, ``"deepspeed"``, ``"horovod"``, ``"mpi"``, ``"ray"``, an object
            with ``global_rank()`` and ``global_world_size()``, or one with the interface of a strategy.
        reduce: Default reduction of metrics; see `Logger.log_metrics`.
        run_id: ranklog's run to open; a new one by default.
        resume: Whether an existing run of that id is gone on with: ``"allow"``, ``"must"`` or ``"never"``.
        forward: Where delivery runs: in a ``"process"`` of its own, a ``"thread"``, or ``"later"`` by `ranklog sync`.
        experiment: Name of the experiment.
        secrets: Environment variables that only the forwarder gets.

    Raises:
        InvalidArgumentError: an argument is not allowed; the message says what is.
    """

    def __init__(
        self,
        backend: str | None,
        options: dict[str, Scalar] | None = None,
        *,
        savedir: str | os.PathLike[str] = "mllogs",
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        strategy: str | Strategy | RanksTeller = "auto",
        reduce: str | None = None,
        run_id: str | None = None,
        resume: Resume = "allow",
        forward: Forward | None = None,
        experiment: str = DEFAULT_EXPERIMENT,
        secrets: dict[str, str] | None = None,
    ) -> None:
        root = Path(savedir).absolute()
        front = BackendSpec(
            backend=backend or JOURNAL,
            log_freq=check_log_freq(log_freq),
            log_on_workers=check_log_on_workers(log_on_workers),
            reduce=check_op(reduce),
            options=options or {},
        )
        where = check_forward(forward or os.environ.get("RANKLOG_FORWARD") or "process")
        runs = os.environ.get("RANKLOG_DIR")
        config = SessionConfig(
            specs=(front,),
            directory=Path(runs).absolute() if runs else root / "runs",
            experiment=experiment,
            strategy=os.environ.get("RANKLOG_STRATEGY", "auto") if strategy == "auto" else strategy,
            run_id=check_run_id(run_id),
            resume=check_resume(resume),
            forward=where if backend else "later",
            secrets=secrets or {},
        )
        super().__init__(config, root)


def _below(savedir: str | os.PathLike[str], name: str) -> str:
    return str(Path(savedir).absolute() / name)


class ConsoleLogger(BackendLogger):
    """Prints a line a step on rank 0 and saves files beside, below ``savedir/console``.

    Args:
        savedir: Where everything is stored.
        **common: See `BackendLogger`.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", **common: Any) -> None:
        super().__init__("console", {"savedir": _below(savedir, "console")}, savedir=savedir, **common)


class MLFlowLogger(BackendLogger):
    """Logs to MLflow tracking.

    Args:
        savedir: Where everything is stored.
        experiment_name: MLflow experiment, created if missing; None takes the ``experiment`` of `BackendLogger`.
        tracking_uri: MLflow's tracking URI; None takes ``MLFLOW_TRACKING_URI``, else an embedded SQLite database
            in ``savedir/mlflow``. A user and password in it are kept out of every file.
        run_description: Shown by MLflow as the run's description.
        run_name: Name of the run; the id of the ranklog run by default.
        **common: See `BackendLogger`.
    """

    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        experiment_name: str | None = None,
        tracking_uri: str | None = None,
        run_description: str | None = None,
        run_name: str | None = None,
        **common: Any,
    ) -> None:
        from ranklog.model.redact import split_userinfo

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
            "savedir": _below(savedir, "mlflow"),
            "experiment_name": experiment_name or common["experiment"],
            "tracking_uri": url.url if url else None,
            "run_description": run_description,
            "run_name": run_name,
        }
        super().__init__("mlflow", options, savedir=savedir, secrets=secrets, **common)


class WandBLogger(BackendLogger):
    """Logs to Weights & Biases.

    Args:
        savedir: Where everything is stored.
        project_name: W&B project; None takes the ``experiment`` of `BackendLogger`, else ``ranklog``.
        offline_mode: Whether to write an offline run below ``savedir/wandb``, for `wandb sync`.
        **common: See `BackendLogger`.
    """

    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        project_name: str | None = None,
        offline_mode: bool = False,
        **common: Any,
    ) -> None:
        common.setdefault("experiment", project_name or "ranklog")
        options: dict[str, Scalar] = {
            "savedir": _below(savedir, "wandb"),
            "project_name": project_name or common["experiment"],
            "offline_mode": bool(offline_mode),
        }
        super().__init__("wandb", options, savedir=savedir, **common)


class TensorBoardLogger(BackendLogger):
    """Writes TensorBoard event files below ``savedir/tensorboard``, a folder a run.

    Args:
        savedir: Where everything is stored.
        framework: ``"pytorch"`` or ``"tensorflow"``; both write the same files and need neither.
        **common: See `BackendLogger`.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", framework: str = "pytorch", **common: Any) -> None:
        if framework not in ("pytorch", "tensorflow"):
            raise InvalidArgumentError(f'framework={framework!r} is not allowed: give "pytorch" or "tensorflow"')
        options: dict[str, Scalar] = {"savedir": _below(savedir, "tensorboard"), "framework": framework}
        super().__init__("tensorboard", options, savedir=savedir, **common)


class JournalLogger(BackendLogger):
    """Writes the journal only; `ranklog sync RUN --to …` delivers it later, anywhere.

    Args:
        savedir: Where everything is stored.
        **common: See `BackendLogger`.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", **common: Any) -> None:
        super().__init__(None, savedir=savedir, **common)


class EmptyLogger(Logger):
    """Logs nothing; takes the arguments of every logger.

    Args:
        savedir: Not used.
        **common: Not used.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", **common: Any) -> None:
        check_log_freq(common.get("log_freq", "epoch"))
        root = Path(savedir).absolute()
        super().__init__(SessionConfig(specs=(), directory=root / "runs", experiment=""), root)


class LoggersCollection(Logger):
    """Several loggers as one: one run, one journal, every member with its own ``log_freq`` and ``log_on_workers``.

    While the collection logs, each member can be used by itself too and reaches its own backend only.

    Args:
        loggers: The members, at most one of each type; `EmptyLogger` members count for nothing.

    Raises:
        InvalidArgumentError: two of one type, a collection in a collection, or members that ask for different runs,
            strategies or places of delivery.

    Example:
        >>> LoggersCollection([ConsoleLogger(), ConsoleLogger()])
        Traceback (most recent call last):
        ...
        ranklog.model.errors.InvalidArgumentError: two loggers of type ConsoleLogger: give one of each type
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = tuple(loggers)
        seen: set[type[Logger]] = set()
        for logger in self.loggers:
            if isinstance(logger, LoggersCollection) or not isinstance(logger, Logger):
                raise InvalidArgumentError(f"a member of a collection is a logger, not a {type(logger).__name__}")
            if type(logger) in seen and type(logger) is not BackendLogger:
                raise InvalidArgumentError(f"two loggers of type {type(logger).__name__}: give one of each type")
            seen.add(type(logger))
        self._members = [m for m in self.loggers if m._config.specs]
        config = _merge([m._config for m in self._members])
        savedir = self._members[0].savedir if self._members else "mllogs"
        super().__init__(config, Path(savedir))

    def create_logger_context(self, rank: int | None = None, **kwargs: Any) -> None:
        """Start logging with all members; see `Logger.create_logger_context`.

        Raises:
            InvalidArgumentError: a member logs by itself already.

        Ranks: all call.
        """
        busy = next((m for m in self.loggers if m._gate is not None and m._owner is not self), None)
        if busy is not None:
            raise InvalidArgumentError(f"{type(busy).__name__} logs already: close it before its collection starts")
        super().create_logger_context(rank, **kwargs)

    def _attach(self, session: Session | None, gate: Gate | None) -> None:
        super()._attach(session, gate)
        bit = 0
        for member in self.loggers:
            own = gate
            if session is not None and gate is not None:
                specs = session.config.specs[bit : bit + len(member._config.specs)]
                own = Gate(specs, rank=session.place.rank, world_size=session.place.world_size, first_bit=bit)
                bit += len(specs)
            member._attach(session, own)
            member._owner = None if gate is None else self


def _merge(configs: Sequence[SessionConfig]) -> SessionConfig:
    if not configs:
        return SessionConfig(specs=(), directory=Path("mllogs").absolute() / "runs", experiment="")
    real = [c for c in configs if c.specs[0].backend != JOURNAL] or list(configs)

    def agreed(name: str, default: Any, among: Sequence[SessionConfig]) -> Any:
        given = [value for c in among if (value := getattr(c, name)) != default]
        if any(value != given[0] for value in given):
            raise InvalidArgumentError(f"members of a collection ask for different {name}: {given}; give one")
        return given[0] if given else default

    secrets: dict[str, str] = {}
    for config in configs:
        secrets.update(config.secrets)
    return msgspec.structs.replace(
        configs[0],
        specs=tuple(spec for config in configs for spec in config.specs),
        experiment=next((c.experiment for c in configs if c.experiment != DEFAULT_EXPERIMENT), configs[0].experiment),
        strategy=agreed("strategy", "auto", configs),
        run_id=agreed("run_id", None, configs),
        resume=agreed("resume", "allow", configs),
        forward=agreed("forward", "process", real),
        secrets=secrets,
    )


_BY_NAME: dict[str, type[BackendLogger]] = {
    "console": ConsoleLogger,
    "mlflow": MLFlowLogger,
    "wandb": WandBLogger,
    "tensorboard": TensorBoardLogger,
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
