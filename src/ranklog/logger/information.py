"""Answers questions about a logger and its run: ids, directory, rank, gate.

A question to a backend waits for the answer with a time limit. After closing, the answers refer to the run that was
closed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ranklog.logger import answers, open_loggers
from ranklog.logger.steps import StepCounts
from ranklog.model.config import SessionConfig
from ranklog.model.errors import NotStartedError, RanklogError
from ranklog.model.kinds import KINDS
from ranklog.model.spec import LogFreq, check_log_freq
from ranklog.model.text import check_name
from ranklog.pipeline.gate import Gate, freq_takes
from ranklog.world.place.current import place

if TYPE_CHECKING:
    from ranklog.pipeline.session import Session
    from ranklog.reduce.reduce_now import ReduceNow

ASK_TIMEOUT_S = 30.0
DISABLED = "disabled"
"""Id of the run of a logger that logs nothing."""


class RunInformation:
    """State of a logger and its answers about the run. `OpenLogger` opens and closes it.

    Args:
        config: Settings of the session.
        savedir: Directory for everything that is stored.
    """

    supported_kinds: tuple[str, ...] = tuple(KINDS)

    def __init__(self, config: SessionConfig, savedir: Path) -> None:
        self.savedir = str(savedir)
        self._config = config
        self._session: Session | None = None
        self._ending: Session | None = None  # is being closed
        self._gate: Gate | None = None
        self._closed: tuple[Session | None, Gate] | None = None
        self._steps = StepCounts()
        self._names: set[str] = set()
        self._said: dict[str, tuple[str | None, str | None]] = {}
        self._now: ReduceNow | None = None
        self._owner: RunInformation | None = None
        self._forked = False

    def time_left(self) -> float | None:
        """Return the seconds until the scheduler ends the job; negative after the time limit.

        Slurm sets ``SLURM_JOB_END_TIME``; without it, ``squeue`` is asked once.

        Returns:
            The seconds, or None without a scheduler that tells the time limit.

        Ranks: any may call, before the logger is open, too; the first call may wait 5 s for ``squeue``.
        """
        from ranklog.job.scheduler import time_left

        return time_left()

    @property
    def log_freq(self) -> LogFreq:
        """Which calls are logged: ``"epoch"``, ``"batch"`` or an int n for every n-th batch.

        Raises:
            InvalidArgumentError: another value is set.
            RanklogError: it is set while the logger is open.

        Ranks: any may read it, at any time; set the same value on all ranks.
        """
        return self._config.specs[0].log_freq if self._config.specs else "epoch"

    @log_freq.setter
    def log_freq(self, value: LogFreq) -> None:
        if self._gate is not None:
            raise RanklogError("log_freq cannot be set while the logger is open: set it before create_logger_context()")
        self._config = open_loggers.with_log_freq(self._config, check_log_freq(value))

    def should_log(self, batch_idx: int | None = None) -> bool:
        """Return whether a call with this ``batch_idx`` is logged, according to ``log_freq``.

        Args:
            batch_idx: Index of the batch; None for a call without one.

        Raises:
            InvalidArgumentError: ``batch_idx`` is no number.

        Ranks: any may call, at any time; ignores ``log_on_workers``.
        """
        return any(freq_takes(spec.log_freq, batch_idx) for spec in self._config.specs)

    @property
    def is_initialized(self) -> bool:
        """Whether the logger is open, which is so from `create_logger_context` to `destroy_logger_context`.

        Ranks: any may read it, at any time.
        """
        return self._gate is not None

    @property
    def is_main(self) -> bool:
        """Whether this process is global rank 0.

        Raises:
            LaunchError: the logger logs nothing, and the launcher's variables contradict each other.
            NotStartedError: the logger is not open.

        Ranks: any may read it.
        """
        session = self._live("is_main")
        return place().is_main if session is None else session.place.is_main

    @property
    def ranklog_run_id(self) -> str:
        """Id of the ranklog run, the same on every rank.

        After closing, this, `run_dir`, `run_id` and `experiment_id` refer to the run that was closed.

        Raises:
            NotStartedError: the logger was never open.
            RanklogError: rank 0 did not send the id within 30 s.

        Ranks: any may read it; on ranks above 0 the first read waits for rank 0.
        """
        session, _ = self._latest("ranklog_run_id")
        return DISABLED if session is None else session.sink.directory.run_id(ASK_TIMEOUT_S)

    @property
    def run_dir(self) -> Path:
        """Directory of the run's journal.

        Raises:
            NotStartedError: the logger was never open.
            RanklogError: the logger logs nothing, or rank 0 did not send the run id within 30 s.

        Ranks: any may read it; see `ranklog_run_id`.
        """
        session, _ = self._latest("run_dir")
        if session is None:
            raise RanklogError(f"{type(self).__name__}.run_dir: this logger logs nothing, so there is no run")
        return session.sink.run_dir(ASK_TIMEOUT_S)

    @property
    def run_id(self) -> str:
        """Id of the run in the backend; the ranklog id where the backend has none.

        Raises:
            NotStartedError: the logger was never open.
            RanklogError: the backend did not tell the id within 30 s, or delivery happens later (``forward="later"``).

        Ranks: any may read it; the first read waits for the backend.
        """
        return self._fact("run_id")

    @property
    def experiment_id(self) -> str:
        """Id of the experiment in the backend; the name of the experiment where the backend has no ids.

        Raises:
            NotStartedError: the logger was never open.
            RanklogError: the backend did not tell the id within 30 s, or delivery happens later (``forward="later"``).

        Ranks: any may read it; the first read waits for the backend.
        """
        return self._fact("experiment_id")

    def _fact(self, fact: str) -> str:
        session, gate = self._latest(fact)
        if session is None:
            return DISABLED
        return answers.known_fact(session, gate.every, fact, ASK_TIMEOUT_S)

    def serialize(self, obj: Any, name: str) -> str:
        """Write an object to a file below ``savedir``. The logger need not be open.

        Args:
            obj: bytes, a str, an array, a tensor, a state dict, or an object that JSON can express.
            name: Path of the file below ``savedir``.

        Returns:
            The absolute path of the file.

        Raises:
            InvalidArgumentError: the name is not allowed.
            InvalidItemError: there is no safe format for the object; pickle is not used.
            RanklogError: the file cannot be written, for example because a folder has its name.

        Ranks: any may call; waits for the disk.
        """
        from ranklog.logger.serialize import serialize_to

        return str(serialize_to(obj, check_name(name), Path(self.savedir)))

    def _live(self, what: str) -> Session | None:
        """Return the session; None when the logger is open but inert: disabled, empty, or in a forked child."""
        if self._gate is None:
            self._not_started(what)
        return self._session

    def _latest(self, what: str) -> tuple[Session | None, Gate]:
        """Return the open session, or else the one that was closed last."""
        latest = self._closed if self._gate is None else (self._session, self._gate)
        if latest is None:
            self._not_started(what)
        return latest

    def _not_started(self, what: str) -> NoReturn:
        when = "before logging started" if self._closed is None else "after logging ended"
        raise NotStartedError(
            f"{type(self).__name__}.{what} was used {when}: call create_logger_context() first, "
            "or use `with logger.start_logging():`"
        )
