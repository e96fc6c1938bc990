"""The options of a call: which of them its kind has."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranklog.model.errors import RanklogWarning
from ranklog.model.kinds import COMMON_OPTIONS, KINDS

_PACKAGE = str(Path(__file__).parents[1])
_ignored: set[tuple[str, str]] = set()


def known_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that the kind has; others are named once, since code of other loggers passes what only they know."""
    known = (*KINDS[kind].options, *COMMON_OPTIONS)
    for option in options:
        if option not in known and (kind, option) not in _ignored:
            _ignored.add((kind, option))
            text = f"ranklog: option {option}= of kind={kind!r} is ignored (it takes: {', '.join(known)})"
            warnings.warn(text, RanklogWarning, stacklevel=_levels_to_the_user())
    return {option: value for option, value in options.items() if option in known}


def _levels_to_the_user() -> int:
    """How far above `known_options` the user's own line is."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level
