"""Estimates how many epochs still fit before the job's time limit. Pure.

In: the history of a run. Out: `Outlook`. ranklog does not know what an epoch is. It assumes that the rarest metric is
logged at the end of an epoch, as a validation loss is. The metric must have three points in this attempt.
"""

from __future__ import annotations

import itertools
import statistics

import msgspec

from ranklog.view.history import History, Point

_MIN_POINTS = 3
_NEWEST_POINTS = 10


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """Forecast for a running run.

    Attributes:
        ends_ns: Time at which the scheduler ends the job; None if it is unknown.
        metric: The rarest metric; empty while none has enough points.
        step: Its last step.
        interval_s: Median of the seconds between its newest points.
        due_ns: Time at which its next point is expected.
        fit: Number of its points expected before the job ends; None if the end is unknown.
    """

    ends_ns: int | None
    metric: str = ""
    step: int = 0
    interval_s: float = 0.0
    due_ns: int = 0
    fit: int | None = None


def outlook(view: History) -> Outlook:
    """Estimate the outlook of a run."""
    attempt = view.attempts[-1].attempt if view.attempts else 0
    job = view.jobs.get(attempt)
    ends_ns = None if job is None else job.ends_ns
    slowest: tuple[float, str, Point] | None = None
    for name in view.names:
        points = [point for point in view.series(name) if point.attempt == attempt][-_NEWEST_POINTS - 1 :]
        if len(points) < _MIN_POINTS:
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
