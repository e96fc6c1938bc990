"""Configuration of a backend as data: which backend, how often, from which ranks, with which options.

A logger class creates a `BackendSpec`. The run's journal stores it, and the delivery side reads it, because only that
side has the backend's client. Options never hold a secret.
"""

from __future__ import annotations

import re
from typing import Literal, TypeVar

import msgspec

from ranklog.model.errors import InvalidArgumentError

Scalar = str | int | float | bool | None
LogFreq = int | Literal["epoch", "batch"]
Forward = Literal["process", "thread", "later"]
Resume = Literal["allow", "must", "never"]
Name = TypeVar("Name", bound=str)

JOURNAL = "journal"
"""Name of the backend without delivery: the journal itself."""

FORWARDS: tuple[Forward, ...] = ("process", "thread", "later")
RESUMES: tuple[Resume, ...] = ("allow", "must", "never")

_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def distinct_key(value: object) -> tuple[str, str]:
    """Return a key that distinguishes values that Python considers equal, such as 1, 1.0 and True.

    Example:
        >>> len({distinct_key(value) for value in (1, 1.0, True, float("nan"), float("nan"))})
        4
    """
    return type(value).__name__, repr(value)


class BackendSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of one backend, for the delivery side.

    Attributes:
        backend: Name in the entry-point group ``ranklog.backends``, for example ``"mlflow"``.
        log_freq: Which calls are logged; see `check_log_freq`.
        log_on_workers: Ranks that log: one rank, several, or -1 for all.
        reduce: Default reduction of metrics, or None.
        options: The backend's own settings; absolute paths, no secrets.
        id: Its identity in the run, see `ranklog.model.identity`; empty until logging starts, and in attempts written
            before identities existed.
    """

    backend: str
    log_freq: LogFreq = "epoch"
    log_on_workers: int | tuple[int, ...] = 0
    reduce: str | None = None
    options: dict[str, Scalar] = {}
    id: str = ""


def check_log_freq(value: object) -> LogFreq:
    """Return ``value`` if it is a valid ``log_freq``: ``"epoch"``, ``"batch"`` or an int above 0.

    Raises:
        InvalidArgumentError: for any other value.

    Example:
        >>> check_log_freq(10)
        10
        >>> check_log_freq(0)
        Traceback (most recent call last):
        ...
        ranklog.model.errors.InvalidArgumentError: log_freq=0 is not allowed: give "epoch", "batch" or an int > 0
    """
    if isinstance(value, str) and value in ("epoch", "batch"):
        return value  # type: ignore[return-value]  # one of the literals
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise InvalidArgumentError(f'log_freq={value!r} is not allowed: give "epoch", "batch" or an int > 0')


def check_log_on_workers(value: object) -> int | tuple[int, ...]:
    """Return ``value`` if it names ranks: an int of -1 or above, or a sequence of ints of 0 or above.

    Raises:
        InvalidArgumentError: for any other value.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= -1:
        return value
    if isinstance(value, (list, tuple)) and value:
        ranks = tuple(value)
        if all(isinstance(r, int) and not isinstance(r, bool) and r >= 0 for r in ranks):
            return tuple(sorted(set(ranks)))
    raise InvalidArgumentError(
        f"log_on_workers={value!r} is not allowed: give a rank, a list of ranks, or -1 for all ranks"
    )


def check_run_id(run_id: object) -> str | None:
    """Return ``run_id`` if it is None or a valid directory name everywhere.

    Raises:
        InvalidArgumentError: it is not.
    """
    if run_id is None or (isinstance(run_id, str) and _RUN_ID.fullmatch(run_id)):
        return run_id
    raise InvalidArgumentError(
        f"run_id={run_id!r} is not allowed: give 1 to 128 letters, digits, '.', '_' or '-'; it must not begin with"
        " '.' or '-'"
    )


def check_resume(resume: object) -> Resume:
    """Return ``resume`` if it is allowed.

    Raises:
        InvalidArgumentError: it is not.
    """
    return _one_of("resume", resume, RESUMES)


def check_forward(forward: object) -> Forward:
    """Return ``forward`` if it is allowed.

    Raises:
        InvalidArgumentError: it is not.
    """
    return _one_of("forward", forward, FORWARDS)


def _one_of(argument: str, value: object, allowed: tuple[Name, ...]) -> Name:
    for name in allowed:
        if isinstance(value, str) and value == name:
            return name
    raise InvalidArgumentError(f"{argument}={value!r} is not allowed: give one of {', '.join(allowed)}")


OPS = ("mean", "sum", "min", "max", "std", "median", "p99", "stats", "per_rank")
"""Reductions, the values of ``reduce=``."""


def check_op(op: object) -> str | None:
    """Return ``op`` if it is a reduction or None.

    Raises:
        InvalidArgumentError: for any other value; lists the reductions.
    """
    if op is None:
        return None
    for known in OPS:
        if isinstance(op, str) and op == known:
            return known
    raise InvalidArgumentError(f"reduce={op!r} is not known: give None or one of {', '.join(OPS)}")
