"""What concerns all open loggers of a process: forks, signals, exits, exceptions, and questions to the delivery side.

An exit without `destroy_logger_context` closes what is open, with the status that the process exits with
(`ranklog.process.exits`). A signal that announces the end brings what was logged into the journal
(`ranklog.process.signals`). A forked child, for example a DataLoader worker, finds its loggers inert.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from signal import Signals
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ranklog.model.config import SessionConfig
from ranklog.model.errors import (
    InvalidArgumentError,
    RanklogWarning,
)
from ranklog.model.identity import identified
from ranklog.model.record import Event, Status
from ranklog.model.spec import LogFreq
from ranklog.model.text import storable
from ranklog.pipeline.gate import Gate
from ranklog.process import blackbox, exits
from ranklog.process.signals import FLUSH_S, Callback, Watch, check_signals
from ranklog.values.numbers import shown

if TYPE_CHECKING:
    from ranklog.logger.reduce_now import ReduceNow
    from ranklog.pipeline.session import Session


class Closable(Protocol):
    """An open logger, as this module sees it."""

    def _close(self, status: Status, exit_timeout: float, reason: str = "") -> None: ...

    def _secure(self, event: Event, timeout_s: float) -> None: ...

    def _fork(self) -> None: ...


# Strong references: a logger that a function opened and left is closed at exit, not collected.
_open: set[Any] = set()
_opened: dict[str, int] = {}
_hooked = False
_watch: Watch | None = None


def register(logger: Closable) -> None:
    """Remember an open logger."""
    global _hooked  # noqa: PLW0603 - hooks of the process are set once
    _open.add(logger)
    if not _hooked:
        _hooked = True
        atexit.register(_close_all)
        os.register_at_fork(after_in_child=_fork_all)
    if len(_open) == 1:
        exits.watch()
    blackbox.listen()
    if threading.current_thread() is threading.main_thread():
        _watched()


def unregister(logger: Closable) -> None:
    """Forget a logger that is closed."""
    global _watch  # noqa: PLW0603 - there is one watch a process
    _open.discard(logger)
    if not _open:
        blackbox.stop_listening()
        exits.rest()
    if not _open and _watch is not None and threading.current_thread() is threading.main_thread():
        _watch.stop()
        _watch = None


def _watched() -> Watch:
    global _watch  # noqa: PLW0603 - there is one watch a process
    if _watch is None:
        _watch = Watch(_secure_all)
    return _watch


def on_preempt(callback: Callback, names: Iterable[str]) -> None:
    """Call ``callback`` in the main thread at these signals, as long as a logger is open.

    Raises:
        InvalidArgumentError: a name is none of the signals that announce an end, or ``callback`` cannot be called.
        RanklogError: this is not the main thread.
    """
    if not callable(callback):
        raise InvalidArgumentError(
            f"on_preempt(callback={callback!r}) is not allowed: give a function without arguments"
        )
    numbers = check_signals(names)
    for number in numbers:
        _watched().add(number, callback)


def _secure_all(number: Signals) -> None:
    exits.note_signal(number.name)
    for logger in list(_open):
        try:
            event = Event("warning", "signal", f"{number.name} received", time.time_ns())
            logger._secure(event, FLUSH_S)
        except Exception as error:
            sys.stderr.write(f"ranklog: at {number.name}: {error!r}\n")


def _close_all() -> None:
    status, reason = exits.at_exit()
    for logger in list(_open):
        try:
            logger._close(status, 30.0, reason)
        except Exception as error:
            sys.stderr.write(f"ranklog: closing at exit failed: {error!r}\n")


def _fork_all() -> None:
    global _watch
    watch, _watch = _watch, None
    if watch is not None:
        watch.leave_in_child()
    blackbox.stop_listening()
    if _open:
        exits.rest()
    for logger in list(_open):
        logger._fork()
    _open.clear()


def inert_gate() -> Gate:
    """A gate that refuses every call."""
    return Gate((), rank=0, world_size=1)


def open_session(config: SessionConfig, rank: int | None) -> Session:
    """Open a session whose communicator has the same name on every rank.

    The name comes from what is logged to, and from how many such loggers were opened before, so that a logger that
    only some ranks open does not shift the others.

    Raises:
        InvalidArgumentError: two backends store at the same place.
    """
    # The session brings numpy and threads; a script that only imports ranklog pays for neither.
    import hashlib

    from ranklog.pipeline.session import Session

    config = msgspec.structs.replace(config, specs=identified(config.specs, os.environ))
    identity = "|".join([config.experiment, *(spec.backend for spec in config.specs)])
    digest = hashlib.sha256(storable(identity).encode()).hexdigest()[:12]
    number = _opened[digest] = _opened.get(digest, 0) + 1
    return Session(msgspec.structs.replace(config, channel=f"{digest}/{number}"), rank)


def warn_already_open(logger: object) -> None:
    """Say that a second `create_logger_context` does nothing."""
    warnings.warn(
        f"ranklog: {type(logger).__name__}.create_logger_context was called while logging was on; nothing is done",
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
        ReduceTimeoutError: the other ranks did not come in time.
    """
    from ranklog.logger.reduce_now import ReduceNow
    from ranklog.world.strategies import resolve_strategy

    if session is None:
        return ReduceNow(resolve_strategy(config.strategy), "disabled", timeout_s)
    return ReduceNow(session.strategy, session.config.channel, timeout_s)


def warn_owned(logger: object) -> None:
    """Say that a member of an open collection is closed with the collection only."""
    warnings.warn(
        f"ranklog: {type(logger).__name__} is a member of an open collection, which closes it; nothing is done",
        RanklogWarning,
        stacklevel=3,
    )
