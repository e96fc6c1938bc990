"""The life of a logger and the questions it answers: everything of the one `Logger` but the logging calls.

Guarantees: opening waits for the disk only (with MPI once, up to 3 s, for the other ranks), closing and `flush` for at
most the time given; what is asked of a backend waits with a time limit. A logger that logs nothing (disabled, empty, or
in a forked child) is open but inert.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict

from ranklog.logger import answers, open_loggers
from ranklog.logger.steps import StepCounts
from ranklog.model.argument_names import named_arguments
from ranklog.model.config import SessionConfig
from ranklog.model.errors import NotStartedError, RanklogError
from ranklog.model.kinds import KINDS
from ranklog.model.spec import LogFreq, check_log_freq
from ranklog.model.text import check_name
from ranklog.pipeline.gate import Gate, freq_takes
from ranklog.process import exits
from ranklog.process.signals import on_signals
from ranklog.world.place.current import place

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ranklog.model.record import Event
    from ranklog.pipeline.session import Session
    from ranklog.process.signals import Callback
    from ranklog.reduce.reduce_now import ReduceNow

EXIT_TIMEOUT_S = 30.0
ASK_TIMEOUT_S = 30.0
DISABLED = "disabled"
"""What a logger that logs nothing answers when it is asked for an id."""


class ContextArguments(TypedDict, total=False):
    """Arguments of `create_logger_context` that name the run in MLflow; other backends ignore them."""

    run_id: str | None
    run_name: str | None
    parent_run_id: str | None


class OpenLogger:
    """Opens, closes and tells; `ranklog.logger.logger.Logger` adds what logs.

    Args:
        config: What the session will be opened with.
        savedir: The directory under which everything is stored.
    """

    supported_kinds: tuple[str, ...] = tuple(KINDS)

    def __init__(self, config: SessionConfig, savedir: Path) -> None:
        self.savedir = str(savedir)
        self._config = config
        self._session: Session | None = None
        self._gate: Gate | None = None
        self._closed: tuple[Session | None, Gate] | None = None
        self._steps = StepCounts()
        self._names: set[str] = set()
        self._said: dict[str, tuple[str | None, str | None]] = {}
        self._now: ReduceNow | None = None
        self._owner: OpenLogger | None = None
        self._forked = False

    @named_arguments(ContextArguments)
    def create_logger_context(self, rank: int | None = None, **mlflow: Unpack[ContextArguments]) -> None:
        """Start logging.

        Args:
            rank: Global rank of this process; None finds it. One that the process group or the launcher contradicts
                is an error.
            **mlflow: For MLflow: ``run_id`` (an MLflow run to go on with), ``run_name``, ``parent_run_id``.

        Raises:
            InvalidArgumentError: an argument is not allowed, or the run exists and ``resume`` forbids it.
            LaunchError: the launcher's variables contradict each other.

        Ranks: all call; rank 0 creates the run; does not wait for other ranks.
        """
        if self._gate is not None:
            open_loggers.warn_already_open(self)
            return
        if not self._config.specs or os.environ.get("RANKLOG_DISABLED", "0") not in ("", "0"):
            open_loggers.with_call_options(self._config, mlflow)
            self._attach(None, open_loggers.inert_gate())
            return
        # Counted before anything can fail, so that an opening that fails on one rank counts there as well.
        channel = open_loggers.next_channel(self._config)
        config = open_loggers.with_call_options(self._config, mlflow)
        with open_loggers.registered(self):
            session = open_loggers.open_session(config, channel, rank)
            self._attach(session, Gate(config.specs, rank=session.place.rank, world_size=session.place.world_size))

    def _attach(self, session: Session | None, gate: Gate | None) -> None:
        """Begin or, with None, end to log to a session, which goes on to tell of its run."""
        if gate is None and self._gate is not None:
            self._closed = self._session, self._gate
        self._session = session
        self._gate = gate
        self._steps = StepCounts()
        self._said.clear()

    def _secure(self, event: Event, timeout_s: float) -> None:
        if self._session is not None:
            self._session.secure(event, timeout_s)

    def _fork(self) -> None:
        if self._session is not None:
            self._session.forget()
        self._attach(None, open_loggers.inert_gate())
        self._forked = True

    def destroy_logger_context(self, exit_timeout: float = EXIT_TIMEOUT_S) -> None:
        """Flush, wait for delivery and close; without effect when it is not open.

        Args:
            exit_timeout: Seconds to wait at most for other ranks and backends; what is not delivered then stays in
                the journal, and the command that delivers it is printed.

        Ranks: all call; waits.
        """
        if self._owner is not None:
            open_loggers.warn_owned(self)
            return
        self._close("FINISHED", exit_timeout)

    def _close(self, status: Any, exit_timeout: float, reason: str = "") -> None:
        session = self._session
        if session is None:
            self._attach(None, None)
            return
        # First of all: from here on Ctrl-C ends a wait, and the drain thread closes the run.
        session.begin_close(status, timeout_s=exit_timeout, reason=reason)
        self._attach(None, None)
        try:
            if self._now is not None:
                self._now.close()
                self._now = None
        finally:
            try:
                session.wait_closed()
            finally:
                open_loggers.unregister(self)

    @named_arguments(ContextArguments)
    @contextmanager
    def start_logging(
        self, rank: int | None = None, exit_timeout: float = EXIT_TIMEOUT_S, **mlflow: Unpack[ContextArguments]
    ) -> Iterator[None]:
        """Start logging for a block; the run is FAILED when the block raises.

        A SystemExit fails it where its status is not 0. After a signal that status means KILLED. A block inside another
        one of the same logger warns, and leaves the end to that.

        Ranks: all call; waits at the end, as `destroy_logger_context`.
        """
        inside = self._gate is not None
        self.create_logger_context(rank, **mlflow)
        if inside:
            yield
            return
        try:
            yield
        except BaseException as error:
            status, reason = exits.status_of_exception(error)
            self._close(status, exit_timeout, reason)
            raise
        self._close("FINISHED", exit_timeout)

    def flush(self, timeout: float | None = None) -> bool:
        """Bring all that was logged before into the journal, on disk.

        Args:
            timeout: Seconds to wait at most for other ranks; None waits as long as a round may take.

        Returns:
            Whether it made it in time.

        Ranks: any may call; values that are reduced need the others to log on, flush or close.
        """
        session = self._live("flush")
        if session is None:
            return True
        return session.flush(ASK_TIMEOUT_S * 2 if timeout is None else timeout)

    def wait_delivered(self, timeout: float = ASK_TIMEOUT_S) -> bool:
        """Wait until all that was logged before is in the backends; whether it made it in time.

        Ranks: useful on rank 0, True elsewhere; waits.
        """
        session = self._live("wait_delivered")
        if session is None:
            return True
        deadline = time.monotonic() + timeout
        return session.flush(timeout) and answers.wait_delivered(session, deadline)

    def on_preempt(self, callback: Callback, *, signals: Iterable[str] = ("SIGTERM",)) -> None:
        """Call a function in the main thread when a signal announces the end of the job, to save a checkpoint there.

        What was logged until then is journaled by another thread at the same time. After the callback comes the handler
        that was set before. Where there was none, SIGTERM ends the process as ever, and the run is KILLED; others end
        neither it nor children that it forks, also after the logger was closed. A callback that raises, for example
        SystemExit, ends the program in its own way. It runs once Python comes to it: not before a collective returns.

        Args:
            callback: Takes no arguments; called at each of the signals.
            signals: Some of ``"SIGTERM"``, ``"SIGUSR1"`` and ``"SIGUSR2"``; Slurm sends the latter with
                ``sbatch --signal=USR1@120`` two minutes before the time limit.

        Raises:
            InvalidArgumentError: a signal is not among these, or the callback cannot be called.
            NotStartedError: the logger is not open.
            RanklogError: this is not the main thread, where Python handles signals.

        Ranks: any may call; each process gets its own signals.
        """
        self._live("on_preempt")
        on_signals(callback, signals)

    def time_left(self) -> float | None:
        """Seconds until the scheduler ends the job, None where no scheduler tells; below 0 once it is over.

        Slurm tells by ``SLURM_JOB_END_TIME``, or is asked once (``squeue``, 5 s at most).

        Ranks: any may call.
        """
        from ranklog.job.scheduler import time_left

        return time_left()

    @property
    def log_freq(self) -> LogFreq:
        """Which calls count: ``"epoch"``, ``"batch"`` or every n-th batch."""
        return self._config.specs[0].log_freq if self._config.specs else "epoch"

    @log_freq.setter
    def log_freq(self, value: LogFreq) -> None:
        if self._gate is not None:
            raise RanklogError("log_freq can be set before create_logger_context only")
        self._config = open_loggers.with_log_freq(self._config, check_log_freq(value))

    def should_log(self, batch_idx: int | None = None) -> bool:
        """Whether ``log_freq`` takes a call with this ``batch_idx``."""
        return any(freq_takes(spec.log_freq, batch_idx) for spec in self._config.specs)

    @property
    def is_initialized(self) -> bool:
        """Whether the logger is open: `create_logger_context` was called, and `destroy_logger_context` was not."""
        return self._gate is not None

    @property
    def is_main(self) -> bool:
        """Whether this process is global rank 0."""
        session = self._live("is_main")
        return place().is_main if session is None else session.place.is_main

    @property
    def ranklog_run_id(self) -> str:
        """Id of the run in ranklog, the same on every rank; waits for rank 0 when first asked elsewhere.

        After closing this, `run_dir`, `run_id` and `experiment_id` tell of the run that was closed.
        """
        session, _ = self._latest("ranklog_run_id")
        return DISABLED if session is None else session.run_id(ASK_TIMEOUT_S)

    @property
    def run_dir(self) -> Path:
        """Directory of the run's journal; see `ranklog_run_id`."""
        session, _ = self._latest("run_dir")
        if session is None:
            raise RanklogError(f"{type(self).__name__}.run_dir: this logger logs nothing, so there is no run")
        return session.run_dir(ASK_TIMEOUT_S)

    @property
    def run_id(self) -> str:
        """Id of the run in the backend, or in ranklog where the backend has none; waits when first asked."""
        return self._fact("run_id")

    @property
    def experiment_id(self) -> str:
        """Id of the experiment in the backend, or its name where the backend has none; waits when first asked."""
        return self._fact("experiment_id")

    def _fact(self, fact: str) -> str:
        session, gate = self._latest(fact)
        if session is None:
            return DISABLED
        return answers.known_fact(session, gate.every, fact, ASK_TIMEOUT_S)

    def serialize(self, obj: Any, name: str) -> str:
        """Write an object to a file below ``savedir`` and return its path; bytes, str, arrays, tensors, JSON-able.

        Raises:
            InvalidItemError: no safe format for such an object (pickle is not used).
            RanklogError: the disk refuses the file, for example since a folder of that name is there.

        Ranks: any may call; waits for the disk.
        """
        from ranklog.logger.serialize import serialize_to

        return str(serialize_to(obj, check_name(name), Path(self.savedir)))

    def _live(self, what: str) -> Session | None:
        """The session; None where the logger is open but inert: disabled, empty, or in a forked child."""
        if self._gate is None:
            self._not_started(what)
        return self._session

    def _latest(self, what: str) -> tuple[Session | None, Gate]:
        """The session, or the one that was closed last."""
        latest = self._closed if self._gate is None else (self._session, self._gate)
        if latest is None:
            self._not_started(what)
        return latest

    def _not_started(self, what: str) -> NoReturn:
        when = "before logging was started" if self._closed is None else "after logging was ended"
        raise NotStartedError(
            f"{type(self).__name__}.{what} {when}: call create_logger_context() first, "
            "or use `with logger.start_logging():`"
        )
