"""Decides whether a run ends with its efficiency line: only in a scheduler's job, and at most once per minute."""

from __future__ import annotations

from collections.abc import Mapping

from ranklog.job.facts import scheduler_facts

LINE_EVERY_S = 60.0
"""A program that makes many short runs in one job prints one line for them."""
_last_s = float("-inf")


def is_line_due(environ: Mapping[str, str], now_s: float) -> bool:
    """Whether to print the line now; True starts the next pause.

    Args:
        environ: Names the scheduler's job.
        now_s: Monotonic seconds.
    """
    global _last_s  # noqa: PLW0603 - one terminal per process
    scheduler, _ = scheduler_facts(environ)
    if not scheduler or now_s - _last_s < LINE_EVERY_S:
        return False
    _last_s = now_s
    return True
