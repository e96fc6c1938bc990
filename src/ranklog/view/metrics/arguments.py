"""Arguments of `Run.metrics`: checked, and turned into a selection of series."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from numbers import Integral, Real
from typing import NamedTuple

from ranklog.model.errors import InvalidArgumentError
from ranklog.view.index.downsample import LEAST_POINTS
from ranklog.view.metrics.axis import AXES

_OF_RANK = re.compile(r"(.+)/rank_([0-9]{3,9})", re.DOTALL)
_INT64 = (-(2**63), 2**63 - 1)


class Selection(NamedTuple):
    """Which values of a metric are wanted; `Run.metrics` describes the fields."""

    start: float | None = None
    end: float | None = None
    x: str = "step"
    points: int | None = None
    smooth: float = 0.0
    superseded: bool = False


def selection(
    *,
    names: Collection[str],
    start: object,
    end: object,
    x: object,
    points: object,
    smooth: object,
    attempts: object,
) -> Selection:
    """Return the selection that arguments of `Run.metrics` describe.

    Args:
        names: Metrics of the run, which may be the axis.
        start: First position.
        end: Last position.
        x: The axis.
        points: Half of the most rows.
        smooth: Weight of the smoothing.
        attempts: ``"newest"`` or ``"all"``.

    Raises:
        InvalidArgumentError: an argument has a value that is not allowed.
        KeyError: the axis is not a metric of the run.
    """
    if attempts not in ("newest", "all"):
        raise InvalidArgumentError(f"attempts={attempts!r} is not allowed: give 'newest' or 'all'")
    weight = _number(smooth)
    if weight is None or not 0 <= weight < 1:
        raise InvalidArgumentError(f"smooth={smooth!r} is not allowed: give a number from 0 to below 1")
    if not isinstance(x, str):
        raise InvalidArgumentError(f"x={x!r} is not allowed: give {', '.join(map(repr, AXES))} or the name of a metric")
    if x not in AXES and x not in names:
        raise KeyError(unknown(x, [*AXES, *names]))
    return Selection(
        start=_position("start", start, x),
        end=_position("end", end, x),
        x=x,
        points=None if points is None else _whole(points),
        smooth=float(weight),
        superseded=attempts == "all",
    )


def _position(argument: str, value: object, x: str) -> float | None:
    if isinstance(value, datetime):
        if x != "time":
            raise InvalidArgumentError(f"{argument}={value!r} is a moment, which needs x='time'")
        if value.tzinfo is None:
            raise InvalidArgumentError(f"{argument}={value!r} has no time zone: give one, such as tzinfo=timezone.utc")
        return value.timestamp()
    if value is None:
        return None
    number = _number(value)
    if number is None or math.isnan(number):
        moment = " or a datetime" if x == "time" else ""
        raise InvalidArgumentError(f"{argument}={value!r} is not allowed: give a number{moment}")
    return number


def _number(value: object) -> float | None:
    """Return a real number; ints stay exact, as far as steps reach. None for anything else."""
    if isinstance(value, Integral):
        return min(max(int(value), _INT64[0]), _INT64[1])
    return float(value) if isinstance(value, Real) else None


def _whole(points: object) -> int:
    try:
        number = 0 if isinstance(points, bool) else operator.index(points)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < LEAST_POINTS:
        raise InvalidArgumentError(f"points={points!r} is not allowed: give a whole number, at least {LEAST_POINTS}")
    return number


def unknown(name: object, names: Sequence[str]) -> str:
    """Say that there is no such metric, and which names are near."""
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.0)
    return f"there is no metric {name!r}; the nearest names are {', '.join(near)}" if near else "the run has no metrics"


def expand(names: Sequence[str], known: Sequence[str], ranks: Iterable[int] | str | None) -> list[str]:
    """Return the names of series to read.

    Args:
        names: Names as given by the user; none for all.
        known: Names of the run.
        ranks: Ranks whose series ``name/rank_003`` are wanted, ``"all"``, or None for the names themselves.

    Raises:
        KeyError: a name does not exist, or has no series of these ranks.
        InvalidArgumentError: the ranks are not ints.
    """
    if ranks is None:
        every = set(known)
        for name in names:
            if not isinstance(name, str) or name not in every:
                if any((match := _OF_RANK.fullmatch(each)) and match.group(1) == name for each in known):
                    raise KeyError(f"{name!r} has one series per rank; give ranks='all' or a list of ranks")
                raise KeyError(unknown(name, known))
        return list(dict.fromkeys(names)) if names else list(known)
    wanted = _ranks(ranks)
    series: dict[str, dict[str, int]] = {}
    for name in known:
        if match := _OF_RANK.fullmatch(name):
            series.setdefault(match.group(1), {})[name] = int(match.group(2))
    found = []
    for name in dict.fromkeys(names) if names else series:
        if name not in series:
            raise KeyError(f"there is no metric {name!r} with a series per rank; it needs reduce='per_rank'")
        of_name = [each for each, rank in series[name].items() if wanted is None or rank in wanted]
        if wanted and names and not of_name:
            there, missing = series[name].values(), ", ".join(map(str, sorted(wanted)))
            raise KeyError(f"{name!r} has no series of rank {missing}; its ranks are {min(there)} to {max(there)}")
        found += of_name
    return found


def _ranks(ranks: Iterable[int] | str) -> set[int] | None:
    """Return the ranks; None for all."""
    if isinstance(ranks, str) and ranks == "all":
        return None
    try:
        return {operator.index(rank) for rank in ranks}  # type: ignore[arg-type]
    except TypeError:
        raise InvalidArgumentError(f"ranks={ranks!r} is not allowed: give 'all' or a list of ints") from None


def rank_of(name: str) -> int | None:
    """Return the rank that a series belongs to by its name; None for others.

    Example:
        >>> rank_of("loss/rank_003"), rank_of("loss")
        (3, None)
    """
    match = _OF_RANK.fullmatch(name)
    return int(match.group(2)) if match else None
