"""Times a step of a loop: medians and percentiles in microseconds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """Cost of one step in the training thread.

    Attributes:
        name: What was measured.
        steps: Steps measured.
        median_us: Median.
        p99_us: 99th percentile.
        mean_us: Mean, with everything that interrupts the thread.
        close_s: Seconds until all was closed.
    """

    name: str
    steps: int
    median_us: float
    p99_us: float
    mean_us: float
    close_s: float = 0.0


def measure(name: str, step: Callable[[int], object], steps: int, close: Callable[[], object] | None = None) -> Timing:
    """Call ``step(i)`` without a pause between calls and time each; a tenth of the calls warms up first."""
    clock = time.perf_counter_ns
    for i in range(steps // 10):
        step(i)
    gc.collect()
    times = [0] * steps
    began = clock()
    for i in range(steps):
        start = clock()
        step(steps + i)
        times[i] = clock() - start
    total = clock() - began
    start = clock()
    if close is not None:
        close()
    closed = clock() - start
    times.sort()
    return Timing(
        name,
        steps,
        times[steps // 2] / 1e3,
        times[steps * 99 // 100] / 1e3,
        total / steps / 1e3,
        closed / 1e9,
    )
