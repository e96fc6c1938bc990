"""Checks arguments of the logging calls and returns them as exact builtins. Pure."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.text import check_name, type_text
from ranklog.values.local import reading_number
from ranklog.values.numbers import shown
from ranklog.values.plain import NoScalar, keyed, to_scalar
from ranklog.values.refusing import refusing

STEP_LIMIT = 2**63
LONGEST_S = 1e8
"""Longest time limit, three years: waiting functions of the operating system refuse longer ones."""


def check_goal(goal: object) -> Literal["min", "max"] | None:
    """Return ``goal`` if it is allowed.

    Raises:
        InvalidArgumentError: it is not ``"min"``, ``"max"`` or None.
    """
    if goal is None:
        return None
    for known in ("min", "max"):
        if isinstance(goal, str) and goal == known:
            return known
    raise InvalidArgumentError(f'goal={shown(goal)} is not allowed: give "min" or "max"')


def check_context(context: object) -> str | None:
    """Return ``context`` as text, or None.

    Raises:
        InvalidArgumentError: it has no text.
    """
    scalar = to_scalar(context)
    if isinstance(scalar, NoScalar):
        raise InvalidArgumentError(f"context={shown(context)} is not allowed: give a str")
    return None if scalar is None else str(scalar)


def below(identifier: str, items: Mapping[Any, Any]) -> dict[str, Any]:
    """The values of a mapping, with names below its identifier.

    Raises:
        InvalidArgumentError: a name is not allowed.
        InvalidItemError: two keys become one name.
    """
    for name in items:
        if isinstance(name, str):
            check_name(f"{identifier}/{str.__str__(name)}")  # before escaping changes it
    with refusing(f"metric {identifier!r}"):
        return {check_name(f"{identifier}/{name}"): value for name, value in keyed(items.items()).items()}


def pairs(items: Any, identifiers: Any) -> Iterator[tuple[Any, str]]:
    """Pairs of items and identifiers, for a call that logs a sequence of both.

    Raises:
        InvalidArgumentError: they are not two sequences of one length.
    """
    if isinstance(items, (str, bytes)) or not isinstance(items, Sequence) or not isinstance(identifiers, Sequence):
        raise InvalidArgumentError(
            f"identifier={identifiers!r} is {type_text(identifiers)}: give a str, or a sequence of items "
            "with one str per item"
        )
    if len(items) != len(identifiers):
        raise InvalidArgumentError(
            f"{len(items)} items with {len(identifiers)} identifiers: give one identifier per item"
        )
    return zip(items, map(check_name, identifiers), strict=True)


def check_step(step: object) -> int:
    """A step as an int, also from whole numbers of other types. Reading a tensor waits for its device.

    Raises:
        InvalidArgumentError: it is not a whole number, or too large.
        InvalidItemError: a tensor of which this rank has no value.
    """
    if not isinstance(step, bool):
        with reading_number(step, "step=") as here:
            try:
                number = operator.index(here)
            except Exception:  # tensors and arrays raise other errors
                number = _whole(here)
        if -STEP_LIMIT < number < STEP_LIMIT:
            return number
    raise InvalidArgumentError(f"step={shown(step)} is not allowed: give an int or None")


def check_timeout(seconds: object, name: str) -> float:
    """Return a time limit as a float from 0 to `LONGEST_S`; infinity becomes that.

    Raises:
        InvalidArgumentError: it is no number.
    """
    try:
        number = float(seconds) if isinstance(seconds, numbers.Real) else math.nan
    except OverflowError:  # an int beyond float64
        number = LONGEST_S
    if not math.isnan(number):
        return min(max(number, 0.0), LONGEST_S)
    raise InvalidArgumentError(f"{name}={shown(seconds)} is not allowed: give a number of seconds")


def _whole(step: object) -> int:
    """A step such as 5.0 as an int; `STEP_LIMIT` for other values."""
    try:
        number = to_scalar(step)
    except Exception:  # as above
        return STEP_LIMIT
    return int(number) if isinstance(number, float) and number.is_integer() else STEP_LIMIT
