"""The disk as the drain thread uses it: stores the contents of items, and tells other threads when a call stalls."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ranklog.abc import Content
from ranklog.journal import layout, store
from ranklog.model.place import Place
from ranklog.model.record import File

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


class ContentStore:
    """Stores into one run directory.

    Args:
        place: This process.
        run_dir: The run directory; raises `RanklogError` while this rank does not know it.
        disk: Notes how long calls take.
    """

    def __init__(self, place: Place, run_dir: Callable[[], Path], disk: DiskCalls) -> None:
        self._place = place
        self._run_dir = run_dir
        self._disk = disk

    def store(self, content: Content, inline: bool) -> File:
        """Store one content: in the record itself if it is small and ``inline``, else in the run directory.

        Raises:
            RanklogError: the run directory is not known, or on another file system.
            OSError: the disk refuses.
        """
        source = content.source
        if inline and isinstance(source, bytes) and len(source) <= store.INLINE_BYTES:
            return store.store_bytes(Path(), content.path, source)
        run_dir = layout.shared_run_dir(self._run_dir(), self._place)
        with self._disk:
            if isinstance(source, Path):
                return store.store_file(run_dir, content.path, source, inline=inline)
            return store.store_bytes(run_dir, content.path, source, inline=inline)
