"""Timing of one step of a loop: median and percentiles in microseconds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """Cost of one step in the training thread.

    Attributes:
        name: Name of the case.
        steps: Steps measured.
        median_us: Median.
        p99_us: 99th percentile.
        mean_us: Mean, including all interruptions of the thread.
        close_s: Seconds to close the logger.
    """

    name: str
    steps: int
    median_us: float
    p99_us: float
    mean_us: float
    close_s: float = 0.0


def measure(name: str, step: Callable[[int], object], steps: int, close: Callable[[], object] | None = None) -> Timing:
    """Call ``step(i)`` without pauses and time each call, after a warm-up of a tenth of the calls."""
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
