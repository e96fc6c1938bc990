"""Tells other threads whether the drain thread is held up by the disk."""

from __future__ import annotations

import time

STALLED_S = 1.0
"""A single call that takes longer than this counts as stalled; healthy ones take milliseconds."""


class DiskCalls:
    """Context manager around each disk call of one thread; `stalled` may be read by any."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def __enter__(self) -> None:
        self._since_s = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._since_s = None

    @property
    def stalled(self) -> bool:
        """Whether the present call has taken too long."""
        since_s = self._since_s
        return since_s is not None and time.monotonic() - since_s > STALLED_S
