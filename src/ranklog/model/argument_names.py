"""Checks the names of keyword arguments at run time, and suggests the right name for a misspelled one. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from ranklog.model.errors import InvalidArgumentError

P = ParamSpec("P")
R = TypeVar("R")


def named_arguments(
    kind: type | None = None, hint: Callable[[str], str | None] = lambda name: None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make unknown keyword arguments of a function an `InvalidArgumentError` that suggests the right name.

    Args:
        kind: The `TypedDict` of the function's ``**`` argument; None if it has none.
        hint: Returns advice for a name that belongs elsewhere.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        allowed = [*explicit_arguments(function), *(kind.__annotations__ if kind else ())]
        owner, _, name = function.__qualname__.rpartition(".")
        title = owner if name == "__init__" else name

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            if unknown := [name for name in kwargs if name not in allowed]:
                words = ", ".join(f"{name}={_advice(name, allowed, hint)}" for name in unknown)
                raise InvalidArgumentError(f"{title} has no argument {words}; it takes {', '.join(allowed)}")
            return function(*args, **kwargs)

        return checked

    return decorate


def explicit_arguments(function: Callable[..., object]) -> list[str]:
    """Return the names of a function's arguments, but for ``self`` and ``**``.

    Example:
        >>> explicit_arguments(named_arguments)
        ['kind', 'hint']
    """
    code = getattr(function, "__wrapped__", function).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return [name for name in names if name != "self"]


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that is most similar to another one; None if none is similar.

    Example:
        >>> closest("project", ["savedir", "project_name"]), closest("uri", ["tracking_uri"]), closest("x", ["savedir"])
        ('project_name', 'tracking_uri', None)
    """
    from difflib import get_close_matches  # slow to import, and only errors need it

    known = list(allowed)
    close = get_close_matches(name.lower(), known, n=1)
    return next(iter(close), None) or next((each for each in known if name.lower() in each.split("_")), None)


def _advice(name: str, allowed: list[str], hint: Callable[[str], str | None]) -> str:
    if advice := hint(name):
        return f" ({advice})"
    close = closest(name, allowed)
    return f" (did you mean {close}=?)" if close else ""
