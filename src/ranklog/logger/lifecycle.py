"""Opens, flushes and closes loggers.

Opening waits for the disk only; with MPI the first opening also waits up to 3 s for the other ranks. Closing and
`flush` wait no longer than the time given. A logger that logs nothing (disabled, empty, or in a forked child) is open
but inert.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from ranklog.logger import answers, open_loggers
from ranklog.logger.arguments import check_timeout
from ranklog.logger.information import ASK_TIMEOUT_S, RunInformation
from ranklog.logger.steps import StepCounts
from ranklog.model.argument_names import named_arguments
from ranklog.pipeline.gate import Gate
from ranklog.process import exits
from ranklog.process.signals import on_signals

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ranklog.model.record import Event
    from ranklog.pipeline.session import Session
    from ranklog.process.signals import Callback

EXIT_TIMEOUT_S = 30.0


class ContextArguments(TypedDict, total=False):
    """Arguments of `create_logger_context` that name the run in MLflow; other backends ignore them."""

    run_id: str | None
    run_name: str | None
    parent_run_id: str | None


class OpenLogger(RunInformation):
    """Opens, flushes and closes a logger; `Logger` adds the logging calls.

    Args:
        config: Settings of the session.
        savedir: Directory for everything that is stored.
    """

    @named_arguments(ContextArguments)
    def create_logger_context(self, rank: int | None = None, **mlflow: Unpack[ContextArguments]) -> None:
        """Start logging.

        A second call while the logger is open warns and does nothing.

        Args:
            rank: Global rank of this process; default: found by the strategy. A rank that contradicts the process group
                or the launcher is an error.
            **mlflow: For MLflow only: ``run_id`` (an MLflow run to resume), ``run_name``, ``parent_run_id``.

        Raises:
            InvalidArgumentError: an argument is unknown or has a value that is not allowed, the run exists and
                ``resume`` forbids it, or two backends would store at the same place.
            LaunchError: the launcher's variables are incomplete or contradict each other.
            MissingExtraError: the strategy needs a package that is not installed.
            OSError: rank 0 cannot write the run directory.

        Ranks: all call; rank 0 creates the run; waits for the disk, not for other ranks. With MPI the first call waits
            up to 3 s for them.
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
        """Set the session that calls log to. None ends logging; the old session still answers questions."""
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
        self._ending = None
        self._attach(None, open_loggers.inert_gate())
        self._forked = True

    def destroy_logger_context(self, exit_timeout: float = EXIT_TIMEOUT_S) -> None:
        """Flush, wait for delivery and close. Does nothing when the logger is not open.

        Args:
            exit_timeout: Longest time in seconds to wait for other ranks and backends. Records that are not delivered
                by then stay in the journal; the command that delivers them is printed.

        Raises:
            InvalidArgumentError: ``exit_timeout`` is no number.

        Ranks: all call; waits up to ``exit_timeout``.
        """
        exit_timeout = check_timeout(exit_timeout, "exit_timeout")
        if self._owner is not None:
            open_loggers.warn_owned(self)
            return
        self._close("FINISHED", exit_timeout)

    def _close(self, status: Any, exit_timeout: float, reason: str = "") -> None:
        session = self._session or self._ending
        if session is None:
            self._attach(None, None)
            return
        # Ctrl-C may come between any two of these lines. Once the drain thread closes the run, it ends a wait; before
        # that, the logger stays registered, and is closed at exit.
        self._ending = session
        session.begin_close(status, timeout_s=exit_timeout, reason=reason)
        try:
            self._attach(None, None)
            if self._now is not None:
                self._now.close()
                self._now = None
        finally:
            try:
                session.wait_closed()
            finally:
                if session.is_over and self._ending is session:
                    self._ending = None
                    if self._session is None:  # else another thread has opened the logger again
                        open_loggers.unregister(self)

    @named_arguments(ContextArguments)
    @contextmanager
    def start_logging(
        self, rank: int | None = None, exit_timeout: float = EXIT_TIMEOUT_S, **mlflow: Unpack[ContextArguments]
    ) -> Iterator[None]:
        """Start logging for a ``with`` block and close after it. The run is FAILED when the block raises.

        A SystemExit with a status other than 0 fails the run, too; after a signal the run is KILLED. A block inside
        another block of the same logger warns and does not close the logger.

        Args:
            rank: See `create_logger_context`.
            exit_timeout: See `destroy_logger_context`; in seconds.
            **mlflow: See `create_logger_context`.

        Raises:
            InvalidArgumentError: see `create_logger_context`; also when ``exit_timeout`` is no number.
            LaunchError: see `create_logger_context`.
            MissingExtraError: see `create_logger_context`.
            OSError: see `create_logger_context`.

        Ranks: all call; waits at the end of the block, up to ``exit_timeout``.
        """
        exit_timeout = check_timeout(exit_timeout, "exit_timeout")
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
        """Wait until everything logged before is in the journal, on disk.

        Args:
            timeout: Longest time to wait, in seconds; default: 60.

        Returns:
            Whether everything was written in time.

        Raises:
            InvalidArgumentError: ``timeout`` is no number.
            NotStartedError: the logger is not open.

        Ranks: any may call; waits. Values that are reduced arrive only when the other ranks log, flush or close, too.
        """
        timeout_s = ASK_TIMEOUT_S * 2 if timeout is None else check_timeout(timeout, "timeout")
        session = self._live("flush")
        if session is None:
            return True
        return session.flush(timeout_s)

    def wait_delivered(self, timeout: float = ASK_TIMEOUT_S) -> bool:
        """Wait until everything logged before is in the backends.

        Args:
            timeout: Longest time to wait, in seconds.

        Returns:
            Whether everything was delivered in time; on ranks above 0, whether `flush` succeeded.

        Raises:
            InvalidArgumentError: ``timeout`` is no number.
            NotStartedError: the logger is not open.

        Ranks: any may call; useful on rank 0; waits.
        """
        timeout = check_timeout(timeout, "timeout")
        session = self._live("wait_delivered")
        if session is None:
            return True
        deadline = time.monotonic() + timeout
        return session.flush(timeout) and answers.wait_delivered(session, deadline)

    def on_preempt(self, callback: Callback, *, signals: Iterable[str] = ("SIGTERM",)) -> None:
        """Call a function when a signal announces the end of the job, for example to save a checkpoint.

        The callback runs in the main thread; meanwhile another thread writes to the journal what was logged so far.
        Python runs the callback between two of its instructions, so a collective call delays it until it returns. The
        signal handler that was set before runs after the callback. Without one, SIGTERM ends the process and the run is
        KILLED; the other signals then end neither the process nor its forked children, even after the logger is closed.
        An exception in the callback, for example SystemExit, ends the program as usual.

        Args:
            callback: Function without arguments, called at each of the signals.
            signals: Some of ``"SIGTERM"``, ``"SIGUSR1"`` and ``"SIGUSR2"``. With ``sbatch --signal=USR1@120`` Slurm
                sends SIGUSR1 two minutes before the time limit.

        Raises:
            InvalidArgumentError: a signal is not one of these, or the callback cannot be called.
            NotStartedError: the logger is not open.
            RanklogError: the logger was opened outside the main thread, where Python does not handle signals.

        Ranks: any may call; each process gets its own signals; does not block.
        """
        self._live("on_preempt")
        # A callback that logs may run in the middle of the first import of the encoders, and would find half of them.
        importlib.import_module("ranklog.items.encode")
        on_signals(callback, signals)
