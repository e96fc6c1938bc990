"""Keyword arguments that all loggers share, as types, and the check of their names at run time."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypedDict, TypeVar

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import Forward, Resume
from ranklog.model.suggest import closest

if TYPE_CHECKING:
    from ranklog.abc import Strategy
    from ranklog.world.adapters import RanksTeller

P = ParamSpec("P")
R = TypeVar("R")


class RunArguments(TypedDict, total=False):
    """Arguments that every logger passes on to `BackendLogger`, which documents them.

    Use it to type a function that makes a logger: ``def make(**run: Unpack[RunArguments]) -> Logger``.
    """

    strategy: str | Strategy | RanksTeller
    reduce: str | None
    run_id: str | None
    resume: Resume
    forward: Forward | None
    experiment: str


class EveryArgument(RunArguments, total=False):
    """Arguments of all loggers together, but for those that `EmptyLogger` names; it ignores these."""

    experiment_name: str | None
    tracking_uri: str | None
    run_description: str | None
    run_name: str | None
    project_name: str | None
    offline_mode: bool
    group: str | None
    job_type: str | None
    notes: str | None
    tags: Sequence[str]
    framework: str
    endpoint: str | None
    prov_user_namespace: str
    provenance_save_dir: str | os.PathLike[str] | None
    save_after_n_logs: int
    create_graph: bool
    create_svg: bool
    formats: str


def named_arguments(
    kind: type[RunArguments] | None = None, hint: Callable[[str], str | None] = lambda name: None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make unknown keyword arguments of a function an error that suggests the right name.

    Args:
        kind: Type of the function's ``**`` argument; None where it has none.
        hint: Returns advice for a name that belongs elsewhere.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        allowed = [*explicit_arguments(function), *(kind.__annotations__ if kind else ())]
        title = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            if unknown := [name for name in kwargs if name not in allowed]:
                words = ", ".join(f"{name}={_advice(name, allowed, hint)}" for name in unknown)
                raise InvalidArgumentError(f"{title} has no argument {words}; it takes {', '.join(allowed)}")
            return function(*args, **kwargs)

        return checked

    return decorate


def explicit_arguments(function: Callable[..., object]) -> list[str]:
    """Names of a function's arguments but for ``self`` and ``**``.

    Example:
        >>> explicit_arguments(named_arguments)
        ['kind', 'hint']
    """
    code = getattr(function, "__wrapped__", function).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return [name for name in names if name != "self"]


def _advice(name: str, allowed: list[str], hint: Callable[[str], str | None]) -> str:
    if advice := hint(name):
        return f" ({advice})"
    close = closest(name, allowed)
    return f" (did you mean {close}=?)" if close else ""
