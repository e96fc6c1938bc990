"""Options of a call of `log`: selects those that the kind has, and makes them plain for the item's record."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from ranklog.model.argument_names import closest
from ranklog.model.errors import RanklogWarning
from ranklog.model.kinds import COMMON_OPTIONS, KINDS
from ranklog.model.spec import Scalar
from ranklog.model.text import storable
from ranklog.values.local import local, text_of
from ranklog.values.numbers import plain_number

_PACKAGE = str(Path(__file__).parents[1])
_TEXTS = ("caption", "context", "registered_model_name", "alias")
_PARTS = ("policy", "input_example", "metadata", "metadata_header", "label_img", "weights")
"""What is no fact about an item: how to take it, or content of its own."""
_ignored: set[tuple[str, str]] = set()


def known_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the kind has.

    Other options are ignored with one warning each, because code written for other loggers passes options that only
    those know.

    Raises:
        InvalidItemError: an option is a tensor that cannot be read without other ranks.
    """
    known = (*KINDS[kind].options, *COMMON_OPTIONS)
    for option in options:
        if option not in known and (kind, option) not in _ignored:
            _ignored.add((kind, option))
            close = closest(option, known)
            meant = f": did you mean {close}=?" if close else ""
            text = f"ranklog: option {option}= of kind={kind!r} is ignored (it takes: {', '.join(known)}){meant}"
            warnings.warn(text, RanklogWarning, stacklevel=_levels_to_the_user())
    return {
        option: local(value, f"option {option}= of kind={kind!r}")
        for option, value in options.items()
        if option in known
    }


def plain_options(options: Mapping[str, Any]) -> dict[str, Scalar]:
    """Options as the record of an item keeps them: texts, and numbers of any kind as Python's own."""
    kept: dict[str, Scalar] = {}
    for option, value in options.items():
        if value is None or option in _PARTS:
            continue
        if option in _TEXTS:
            if not isinstance(value, (list, tuple)):
                kept[option] = storable(text_of(value.value if isinstance(value, Enum) else value, f"{option}="))
        elif isinstance(value, str):
            kept[option] = storable(str(value))
        elif (number := _number(value)) is not None:
            kept[option] = number
    return kept


def _number(value: object) -> int | float | None:
    """A number as the journal holds it, which has 64 bits for an int."""
    try:
        number = plain_number(value)
    except Exception:  # the option's own check has said what is wrong, or this kind does without
        return None
    return number if not isinstance(number, int) or -(2**63) <= number < 2**63 else float(number)


def _levels_to_the_user() -> int:
    """How far above `known_options` the user's own line is."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
