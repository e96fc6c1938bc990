"""Hooks and helpers that all open loggers of a process share.

When the program exits with an open logger, the logger is closed with the exit status (`ranklog.process.exits`). When a
signal announces the end, everything logged is journaled (`ranklog.process.signals`). In a forked child, for example a
DataLoader worker, loggers are inert (`ranklog.process.forks`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import msgspec

from ranklog.model.config import SessionConfig
from ranklog.model.errors import (
    InvalidArgumentError,
    RanklogWarning,
)
from ranklog.model.identity import with_identities
from ranklog.model.record import Event, Status
from ranklog.model.spec import LogFreq
from ranklog.model.text import storable
from ranklog.pipeline.gate import Gate
from ranklog.process import blackbox, exits, forks, signals
from ranklog.values.numbers import shown

if TYPE_CHECKING:
    from ranklog.pipeline.session import Session
    from ranklog.reduce.reduce_now import ReduceNow


class Closable(Protocol):
    """An open logger, as seen from this module."""

    def _close(self, status: Status, exit_timeout: float, reason: str = "") -> None: ...

    def _secure(self, event: Event, timeout_s: float) -> None: ...

    def _fork(self) -> None: ...


_opened: dict[str, int] = {}


@contextmanager
def registered(logger: Closable) -> Iterator[None]:
    """Register the hooks of a logger that is being opened; undone if opening fails.

    The logger is closed at exit, secured at signals, and disabled in forked children. The hooks keep a reference to it.
    """
    try:
        forks.register(logger._fork)
        exits.register(logger._close)
        signals.register(logger._secure)
        blackbox.listen(logger)
        yield
    except BaseException:
        unregister(logger)
        raise


def unregister(logger: Closable) -> None:
    """Undo `registered` for a logger that is closed."""
    blackbox.stop_listening(logger)
    exits.unregister(logger._close)
    signals.unregister(logger._secure)
    forks.unregister(logger._fork)


def inert_gate() -> Gate:
    """A gate that refuses every call."""
    return Gate((), rank=0, world_size=1)


def next_channel(config: SessionConfig) -> str:
    """Name of the communicator of the next session, the same on every rank.

    It comes from what is logged to, and from how many such openings there were before, so that a logger that only some
    ranks open does not shift the others. Openings that fail count.
    """
    import hashlib

    identity = "|".join([config.experiment, *(spec.backend for spec in config.specs)])
    digest = hashlib.sha256(storable(identity).encode()).hexdigest()[:12]
    number = _opened[digest] = _opened.get(digest, 0) + 1
    return f"{digest}/{number}"


def open_session(config: SessionConfig, channel: str, rank: int | None) -> Session:
    """Open a session.

    Raises:
        InvalidArgumentError: two backends store at the same place.
    """
    # The session brings numpy and threads; a script that only imports ranklog pays for neither.
    from ranklog.pipeline.session import Session

    specs = with_identities(config.specs, os.environ)
    return Session(msgspec.structs.replace(config, specs=specs, channel=channel), rank)


def warn_already_open(logger: object) -> None:
    """Say that a second `create_logger_context` does nothing."""
    warnings.warn(
        f"ranklog: {type(logger).__name__}.create_logger_context was called, but logging is already on; "
        "the call has no effect",
        RanklogWarning,
        stacklevel=3,
    )


def with_call_options(config: SessionConfig, options: Mapping[str, object]) -> SessionConfig:
    """Put the options of `create_logger_context` into the fronts of the backends that take them.

    Raises:
        InvalidArgumentError: an option is no str.
    """
    given: dict[str, str] = {}
    for name, value in options.items():
        if isinstance(value, str):
            given[name] = storable(value)
        elif value is not None:
            raise InvalidArgumentError(f"{name}={shown(value)} is not allowed: give a str")
    if not given:
        return config
    specs = tuple(
        msgspec.structs.replace(spec, options={**spec.options, **given}) if spec.backend == "mlflow" else spec
        for spec in config.specs
    )
    return msgspec.structs.replace(config, specs=specs)


def with_log_freq(config: SessionConfig, log_freq: LogFreq) -> SessionConfig:
    """The same configuration with another ``log_freq`` for every backend."""
    specs = tuple(msgspec.structs.replace(spec, log_freq=log_freq) for spec in config.specs)
    return msgspec.structs.replace(config, specs=specs)


def connect_now(session: Session | None, config: SessionConfig, timeout_s: float) -> ReduceNow:
    """Open the communicator of `reduce_now`, which all ranks call, also where logging is disabled.

    Raises:
        ReduceTimeoutError: the other ranks did not join in time.
    """
    from ranklog.reduce.reduce_now import ReduceNow
    from ranklog.world.strategies import resolve_strategy

    if session is None:
        return ReduceNow(resolve_strategy(config.strategy), "disabled", timeout_s)
    return ReduceNow(session.strategy, session.config.channel, timeout_s)


def warn_owned(logger: object) -> None:
    """Say that a member of an open collection is closed with the collection only."""
    warnings.warn(
        f"ranklog: {type(logger).__name__} is a member of an open collection, which closes it; the call has no effect",
        RanklogWarning,
        stacklevel=3,
    )
