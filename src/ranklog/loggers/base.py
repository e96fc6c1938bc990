"""Base class of the loggers with one backend: checks the arguments and makes a `BackendSpec` and a `SessionConfig`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ranklog.logger.logger import Logger
from ranklog.model.argument_names import named_arguments
from ranklog.model.config import SessionConfig
from ranklog.model.errors import InvalidArgumentError
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
    check_op,
    check_resume,
    check_run_id,
)
from ranklog.values.numbers import shown
from ranklog.values.plain import NoScalar, to_scalar

if TYPE_CHECKING:
    from ranklog.abc import RankProvider, Strategy

DEFAULT_EXPERIMENT = "Default experiment"
_MAX_RUN_NAME = 250
"""Length of the column in MLflow's database."""


class BackendLogger(Logger):
    """Logs to one backend, named as in the entry-point group ``ranklog.backends``.

    Args:
        backend: Name of the backend; None writes the journal only.
        options: Settings of the backend.
        savedir: Directory for everything that is stored. Runs are in ``runs/`` below it, or in ``RANKLOG_DIR``.
        log_freq: ``"epoch"`` logs calls without ``batch_idx``; an int n also every n-th batch; ``"batch"`` every call.
        log_on_workers: Ranks that log: one rank, a list of ranks, or -1 for all. Every rank takes part in reductions.
        strategy: ``"auto"``, ``"single"``, ``"torch"``, ``"deepspeed"``, ``"horovod"``, ``"mpi"``, ``"ray"``, an object
            with ``global_rank()`` and ``global_world_size()``, or a `Strategy`.
        reduce: Default reduction of metrics; see `Logger.log_metrics`.
        run_id: Id of the ranklog run to open; default: a new run.
        resume: Whether to resume an existing run of that id: ``"allow"``, ``"must"`` or ``"never"``.
        forward: Where delivery to the backend runs: ``"process"`` (a process of its own), ``"thread"``, or ``"later"``
            (with ``ranklog sync``); None takes ``RANKLOG_FORWARD``, else ``"process"``.
        experiment: Name of the experiment.
        secrets: Environment variables that only the delivery process gets.

    Raises:
        InvalidArgumentError: an argument is unknown or has a value that is not allowed.

    Ranks: every rank makes its logger with the same arguments; this does not block.
    """

    @named_arguments()
    def __init__(
        self,
        backend: str | None,
        options: Mapping[str, Scalar] | None = None,
        *,
        savedir: str | os.PathLike[str] = "mllogs",
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        strategy: str | Strategy | RankProvider = "auto",
        reduce: str | None = None,
        run_id: str | None = None,
        resume: Resume = "allow",
        forward: Forward | None = None,
        experiment: str = DEFAULT_EXPERIMENT,
        secrets: dict[str, str] | None = None,
    ) -> None:
        root = absolute("savedir", savedir)
        name = "" if backend is None else check_text("backend", backend)
        if options is not None and not isinstance(options, Mapping):
            raise InvalidArgumentError(f"options={shown(options)} is not allowed: give a mapping of names to values")
        spec = BackendSpec(
            backend=name or JOURNAL,
            log_freq=check_log_freq(log_freq),
            log_on_workers=check_log_on_workers(log_on_workers),
            reduce=check_op(reduce),
            options={name: _plain(name, value) for name, value in (options or {}).items()},
        )
        where = check_forward(forward or os.environ.get("RANKLOG_FORWARD") or "process")
        runs = os.environ.get("RANKLOG_DIR")
        config = SessionConfig(
            specs=(spec,),
            directory=Path(runs).absolute() if runs else root / "runs",
            experiment=str(_plain("experiment", experiment)),
            strategy=os.environ.get("RANKLOG_STRATEGY", "auto") if strategy == "auto" else strategy,
            run_id=check_run_id(run_id),
            resume=check_resume(resume),
            forward=where if name else "later",
            secrets=secrets or {},
        )
        super().__init__(config, root)


def _plain(name: str, value: object) -> Scalar:
    scalar = to_scalar(value)
    if isinstance(scalar, NoScalar):
        raise InvalidArgumentError(f"{name}={shown(value)} is not allowed: give a str, a number, a bool or None")
    return scalar


def check_text(name: str, value: object) -> str:
    """Return ``value`` when it is a str.

    Raises:
        InvalidArgumentError: when it is not.
    """
    if isinstance(value, str):
        return value
    raise InvalidArgumentError(f"{name}={shown(value)} is not allowed: give a str")


def check_run_name(value: object) -> str | None:
    """Return the name of a run if it is None or a str that every table can show. An empty one counts as None.

    Raises:
        InvalidArgumentError: it is not.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= _MAX_RUN_NAME and value.isprintable():
        return value
    raise InvalidArgumentError(
        f"run_name={shown(value)} is not allowed: give 1 to {_MAX_RUN_NAME} printable characters (no newline)"
    )


def absolute(name: str, path: object) -> Path:
    """Absolute path of a directory that was given as an argument.

    Raises:
        InvalidArgumentError: it is no path.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    with suppress(UnicodeEncodeError):
        if isinstance(text, str) and b"\0" not in os.fsencode(text):
            return Path(text).absolute()
    raise InvalidArgumentError(f"{name}={shown(path)} is not allowed: give the path of a directory")


def below(savedir: str | os.PathLike[str], name: str) -> str:
    """Absolute path of a backend's own directory below ``savedir``."""
    return str(absolute("savedir", savedir) / name)
