"""Efficiency of a run: time in the queue, lost steps, attempts, goodput. Pure.

In: the history of a run. Out: `Efficiency`, and one line of text. The useful time of an attempt is the time from its
first metric to its last one that no later attempt superseded. Its whole time is the time from the start of its job (or
process) to its last record. Goodput is useful time divided by whole time, over all attempts.
"""

from __future__ import annotations

import msgspec

from ranklog.model.facts import JobFacts
from ranklog.view.history import History, Point
from ranklog.view.query import RunView
from ranklog.view.units import count, duration

_FIRST_STEPS = ("", "0")


class Efficiency(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of a run.

    Attributes:
        attempts: Number of attempts.
        queued_s: Seconds in the scheduler's queue, over all attempts; None if the scheduler does not say.
        whole_s: Seconds that the attempts lasted, from the start of the job if the scheduler gives it.
        startup_s: Seconds before the first metric, over all attempts.
        lost_s: Seconds from the last metric that counts to the end of an attempt that a later one went back over.
        steps: Number of steps that count, of the metric with the most.
        lost_steps: Number of steps that were repeated, of the metric with the most.
        goodput: Share of the time that went into steps that count, 0 to 1; None without any metric.
    """

    attempts: int
    queued_s: float | None
    whole_s: float
    startup_s: float
    lost_s: float
    steps: int
    lost_steps: int
    goodput: float | None


def efficiency(view: History) -> Efficiency:
    """Compute the efficiency of a run from its journal."""
    kept: dict[int, list[int]] = {}
    lost: dict[int, list[int]] = {}
    steps = lost_steps = 0
    for name in view.names:
        points = view.series(name)
        counts = {point.step: point.attempt for point in points}
        gone = [point for point in view.superseded(name) if counts.get(point.step) != point.attempt]
        steps, lost_steps = max(steps, len(points)), max(lost_steps, len(gone))
        _add_times(kept, points)
        _add_times(lost, gone)
    whole = startup = useful = lost_ns = 0
    before_ns = 0
    for attempt in view.attempts:
        number = attempt.attempt
        start_ns = max(_job_start_ns(view.jobs.get(number)) or attempt.time_ns, before_ns)
        end_ns = before_ns = max(view.last_ns.get(number, start_ns), start_ns)
        whole += end_ns - start_ns
        times = kept.get(number, []) + lost.get(number, [])
        startup += min(times, default=end_ns) - start_ns
        if number in kept:
            useful += max(kept[number]) - min(times)
        if number in lost:
            lost_ns += end_ns - max(kept.get(number, [min(times)]))
    return Efficiency(
        attempts=len(view.attempts),
        queued_s=_queued_s(view),
        whole_s=whole / 1e9,
        startup_s=startup / 1e9,
        lost_s=lost_ns / 1e9,
        steps=steps,
        lost_steps=lost_steps,
        goodput=useful / whole if whole and kept else None,
    )


def _add_times(times: dict[int, list[int]], points: list[Point]) -> None:
    """Extend the first and last time of each attempt."""
    for point in points:
        found = times.setdefault(point.attempt, [point.time_ns, point.time_ns])
        found[0], found[1] = min(found[0], point.time_ns), max(found[1], point.time_ns)


def _job_start_ns(job: JobFacts | None) -> int | None:
    """Return the start of the job; None for a later step of a job, which did not have the time before it."""
    return job.started_ns if job is not None and job.facts.get("step", "") in _FIRST_STEPS else None


def _queued_s(view: History) -> float | None:
    waits = {
        (job.submitted_ns, job.started_ns - job.submitted_ns)
        for job in view.jobs.values()
        if job.submitted_ns is not None and job.started_ns is not None
    }
    return sum(wait for _, wait in waits) / 1e9 if waits else None


def describe_run(view: RunView) -> str:
    """Return the efficiency line of a run, as ``ranklog show --efficiency`` prints it."""
    return f"run {view.summary.facts.run_id} {view.summary.status}: {efficiency_text(efficiency(view))}"


def efficiency_text(found: Efficiency) -> str:
    """Format the result as one line."""
    parts = [count(found.attempts, "attempt")]
    if found.queued_s is not None:
        parts.append(f"{duration(found.queued_s)} in the queue")
    parts.append(f"{duration(found.whole_s)} running, {duration(found.startup_s)} before the first metrics")
    if found.lost_steps:
        parts.append(f"{found.lost_steps:,} of {found.steps + found.lost_steps:,} steps done twice")
    if found.lost_s >= 1:
        parts.append(f"{duration(found.lost_s)} lost")
    if found.goodput is not None:
        parts.append(f"goodput {found.goodput:.0%}")
    return "; ".join(parts)
