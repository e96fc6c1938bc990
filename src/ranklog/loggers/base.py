"""The common front of a logger to one backend: its arguments, checked, become a `BackendSpec` and a `SessionConfig`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ranklog.logger.logger import Logger
from ranklog.model.config import SessionConfig
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
from ranklog.values.numbers import shown
from ranklog.values.plain import NoScalar, to_scalar

if TYPE_CHECKING:
    from ranklog.abc import Strategy
    from ranklog.world.adapters import RanksTeller

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
            options={name: _plain(name, value) for name, value in (options or {}).items()},
        )
        where = check_forward(forward or os.environ.get("RANKLOG_FORWARD") or "process")
        runs = os.environ.get("RANKLOG_DIR")
        config = SessionConfig(
            specs=(front,),
            directory=Path(runs).absolute() if runs else root / "runs",
            experiment=str(_plain("experiment", experiment)),
            strategy=os.environ.get("RANKLOG_STRATEGY", "auto") if strategy == "auto" else strategy,
            run_id=check_run_id(run_id),
            resume=check_resume(resume),
            forward=where if backend else "later",
            secrets=secrets or {},
        )
        super().__init__(config, root)


def _plain(name: str, value: object) -> Scalar:
    scalar = to_scalar(value)
    if isinstance(scalar, NoScalar):
        raise InvalidArgumentError(f"{name}={shown(value)} is not allowed: give a str, a number, a bool or None")
    return scalar


def below(savedir: str | os.PathLike[str], name: str) -> str:
    """Absolute path of a folder of a backend's own."""
    return str(Path(savedir).absolute() / name)
