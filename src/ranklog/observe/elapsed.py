"""Measures the time since logging began, for kind ``execution_time``."""

from __future__ import annotations

import time

from ranklog.abc import Call
from ranklog.items.options import known_options


def of_call(call: Call) -> float:
    """Seconds from the opening of the logger to this call."""
    known_options(call.kind, call.options)
    return time.monotonic() - call.opened_s
