"""Stores the contents of items: in the record itself, or in the run directory. For the drain thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ranklog.abc import Content
from ranklog.journal import layout, store
from ranklog.model.place import Place
from ranklog.model.record import File
from ranklog.pipeline.waiting import DiskCalls


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
