"""Several loggers as one. They share a run and its journal; each keeps its own gate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ranklog.logger.lifecycle import ContextArguments
from ranklog.logger.logger import Logger
from ranklog.loggers.base import DEFAULT_EXPERIMENT, BackendLogger
from ranklog.model.argument_names import named_arguments
from ranklog.model.config import SessionConfig
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import JOURNAL
from ranklog.model.text import type_text
from ranklog.pipeline.gate import Gate
from ranklog.values.numbers import shown

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ranklog.pipeline.session import Session


class LoggersCollection(Logger):
    """Several loggers as one. They share a run and its journal; each keeps its ``log_freq`` and ``log_on_workers``.

    While the collection is open, each member can also be used alone. It then logs to its own backend only.

    Args:
        loggers: The members, at most one of each type. `EmptyLogger` members log nothing.

    Raises:
        InvalidArgumentError: two members of one type, a member that is no logger or is a collection itself, or members
            with different runs, strategies or ``forward``.

    Ranks: every rank makes its collection with the same members; this does not block.

    Example:
        >>> from ranklog import ConsoleLogger
        >>> LoggersCollection([ConsoleLogger(), ConsoleLogger()])
        Traceback (most recent call last):
        ...
        ranklog.model.errors.InvalidArgumentError: two loggers of type ConsoleLogger: give one of each type
    """

    @named_arguments()
    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = _check_members(loggers)
        self._members = [m for m in self.loggers if m._config.specs]
        config = _merge([m._config for m in self._members])
        savedir = self._members[0].savedir if self._members else "mllogs"
        super().__init__(config, Path(savedir))

    @named_arguments(ContextArguments)
    def create_logger_context(self, rank: int | None = None, **mlflow: Unpack[ContextArguments]) -> None:
        """Start logging with all members; see `Logger.create_logger_context`.

        Raises:
            InvalidArgumentError: a member is already open, an argument is not allowed, or the run exists and ``resume``
                forbids it.
            LaunchError: the launcher's variables are incomplete or contradict each other.
            MissingExtraError: the strategy needs a package that is not installed.
            OSError: rank 0 cannot write the run directory.

        Ranks: all call; rank 0 creates the run; waits for the disk, not for other ranks. With MPI the first call waits
            up to 3 s for them.
        """
        busy = next((m for m in self.loggers if m._gate is not None and m._owner is not self), None)
        if busy is not None:
            raise InvalidArgumentError(
                f"{type(busy).__name__} is already open: close it before you open its collection"
            )
        super().create_logger_context(rank, **mlflow)

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
            member._steps = self._steps  # a member that is used alone continues the collection's count of its backend
            member._owner = None if gate is None else self


def _check_members(loggers: object) -> tuple[Logger, ...]:
    if not isinstance(loggers, Iterable):
        raise InvalidArgumentError(f"loggers={shown(loggers)} is not allowed: give a list of loggers")
    members: list[Logger] = []
    for logger in loggers:
        if isinstance(logger, LoggersCollection) or not isinstance(logger, Logger):
            raise InvalidArgumentError(f"a member of a collection must be a logger, not {type_text(logger)}")
        if type(logger) is not BackendLogger and any(type(member) is type(logger) for member in members):
            raise InvalidArgumentError(f"two loggers of type {type(logger).__name__}: give one of each type")
        members.append(logger)
    return tuple(members)


def _merge(configs: Sequence[SessionConfig]) -> SessionConfig:
    if not configs:
        return SessionConfig(specs=(), directory=Path("mllogs").absolute() / "runs", experiment="")
    real = [c for c in configs if c.specs[0].backend != JOURNAL] or list(configs)

    def agreed(name: str, default: Any, among: Sequence[SessionConfig]) -> Any:
        given = [value for c in among if (value := getattr(c, name)) != default]
        if any(value != given[0] for value in given):
            raise InvalidArgumentError(f"members of a collection have different {name}: {given}; give one")
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
