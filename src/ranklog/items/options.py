"""Reads the options of a call by the table of kinds: known ones, checked ones, and those that a record keeps."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from ranklog.model.argument_names import closest
from ranklog.model.errors import InvalidArgumentError, RanklogWarning
from ranklog.model.kinds import KINDS, Kind
from ranklog.model.options import Option
from ranklog.model.spec import Scalar
from ranklog.model.text import storable
from ranklog.values.local import local, text_of
from ranklog.values.numbers import number_option, plain_number, shown, whole_option

_PACKAGE = str(Path(__file__).parents[1])
_ignored: set[tuple[str, str]] = set()


def known_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the kind has.

    Other options are ignored with one warning each, because code written for other loggers passes options that only
    those know.

    Raises:
        InvalidItemError: an option is a tensor that cannot be read without other ranks.
    """
    known = KINDS[kind].all_options
    for option in options:
        if option not in known and (kind, option) not in _ignored:
            _ignored.add((kind, option))
            close = closest(option, tuple(known))
            meant = f": did you mean {close}=?" if close else ""
            text = f"ranklog: option {option}= of kind={kind!r} is ignored (it takes: {', '.join(known)}){meant}"
            warnings.warn(text, RanklogWarning, stacklevel=_levels_to_the_user())
    return {
        option: local(value, f"option {option}= of kind={kind!r}")
        for option, value in options.items()
        if option in known
    }


def typed_options(kind: Kind, options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a kind: as its type says, with its default where the call left it out.

    Raises:
        InvalidArgumentError: a value is not allowed.
        InvalidItemError: a tensor of which this rank has no value.
    """
    return {
        option.name: typed_option(option, options[option.name]) if option.name in options else option.default
        for option in kind.options
    }


def typed_option(option: Option, value: Any) -> Any:
    """The value of one option as its type says; see `typed_options`."""
    return value if value is None and option.default is None else _READ[option.type](option, value)


def _number(option: Option, value: Any) -> float:
    return number_option(value, option.name, option.takes, low=option.low, high=option.high)


def _whole(option: Option, value: Any) -> int:
    return whole_option(value, option.name, option.takes, low=int(option.low), high=int(min(option.high, 2**63 - 1)))


def _seconds(option: Option, value: Any) -> float:
    return _number(option, value.total_seconds() if hasattr(value, "total_seconds") else value)


def _name(option: Option, value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise InvalidArgumentError(f"{option.name}={shown(value)} is not allowed: give a str that is not empty")


def _choice(option: Option, value: Any) -> str:
    for choice in option.choices:
        if isinstance(value, str) and value == choice:
            return choice
    raise InvalidArgumentError(f"{option.name}={shown(value)} is not allowed: give one of {', '.join(option.choices)}")


def _level(option: Option, value: Any) -> str:
    level = str(getattr(value, "value", value)).lower()
    level = "warning" if level == "warn" else level
    if level not in option.choices:
        raise InvalidArgumentError(f"level={value!r} is not allowed: give one of {', '.join(option.choices)}")
    return level


def _as_it_is(option: Option, value: Any) -> Any:
    return value


def _flag(option: Option, value: Any) -> bool:
    return bool(value)


_READ: dict[str, Callable[[Option, Any], Any]] = {
    "any": _as_it_is,
    "text": _as_it_is,
    "name": _name,
    "number": _number,
    "whole": _whole,
    "seconds": _seconds,
    "choice": _choice,
    "level": _level,
    "flag": _flag,
}


def kept_options(kind: str, options: Mapping[str, Any]) -> dict[str, Scalar]:
    """Options as the record of an item keeps them: texts, and numbers of any type as Python's own."""
    known = KINDS[kind].all_options
    kept: dict[str, Scalar] = {}
    for name, value in options.items():
        if value is None or name not in known or not known[name].kept:
            continue
        if known[name].type in ("text", "name"):
            if not isinstance(value, (list, tuple)):
                kept[name] = storable(text_of(value.value if isinstance(value, Enum) else value, f"{name}="))
        elif isinstance(value, str):
            kept[name] = storable(str(value))
        elif (number := _journal_number(value)) is not None:
            kept[name] = number
    return kept


def _journal_number(value: object) -> int | float | None:
    """A number as the journal holds it, which has 64 bits for an int."""
    try:
        number = plain_number(value)
    except Exception:  # the option's own check has refused it already, or this kind does not need it
        return None
    return number if not isinstance(number, int) or -(2**63) <= number < 2**63 else float(number)


def _levels_to_the_user() -> int:
    """Frames between `known_options` and the user's own line."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
