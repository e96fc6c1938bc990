"""When the job ends, and what of the training will still come before that. Pure.

In: a `RunView`. Out: `Outlook`. ranklog is not told what an epoch is: the metric that comes most seldom, and at least
three times in this attempt, is taken for what its end is logged with, as a validation loss is.
"""

from __future__ import annotations

import itertools
import statistics

import msgspec

from ranklog.view.query import Point, RunView

_LEAST_POINTS = 3
_NEWEST = 10


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be expected of a run that trains.

    Attributes:
        ends_ns: When the scheduler ends the job; None where it does not tell.
        metric: The metric that comes most seldom; empty while none came often enough.
        step: Its last step.
        interval_s: Seconds from one of its points to the next, the median of the newest ones.
        due_ns: When its next point is due.
        fit: How many more of its points come before the job ends; None where the end is not known.
    """

    ends_ns: int | None
    metric: str = ""
    step: int = 0
    interval_s: float = 0.0
    due_ns: int = 0
    fit: int | None = None


def outlook(view: RunView) -> Outlook:
    """What is to be expected."""
    attempt = view.attempts[-1].attempt if view.attempts else 0
    job = view.jobs.get(attempt)
    ends_ns = None if job is None else job.ends_ns
    slowest: tuple[float, str, Point] | None = None
    for name in view.names:
        points = [point for point in view.series(name) if point.attempt == attempt][-_NEWEST - 1 :]
        if len(points) < _LEAST_POINTS:
            continue
        gaps = [(b.time_ns - a.time_ns) / 1e9 for a, b in itertools.pairwise(points)]
        interval_s = statistics.median(gaps)
        if interval_s > 0 and (slowest is None or interval_s > slowest[0] * 1.01):
            slowest = (interval_s, name, points[-1])
    if slowest is None:
        return Outlook(ends_ns=ends_ns)
    interval_s, name, last = slowest
    fit = None if ends_ns is None else max(0, int((ends_ns - last.time_ns) / 1e9 / interval_s))
    return Outlook(
        ends_ns=ends_ns,
        metric=name,
        step=last.step,
        interval_s=interval_s,
        due_ns=last.time_ns + int(interval_s * 1e9),
        fit=fit,
    )
