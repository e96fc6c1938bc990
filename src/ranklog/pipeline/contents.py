"""Stores the contents of items in the record itself, or in the run directory once it is there.

Rank 0 creates the run directory when it opens the run. Other ranks may log files before that, and network file systems
cache for up to half a minute that a name is not there. These ranks therefore look for the directory only after they met
rank 0, or at the end of the time limit `RUN_DIR_TIMEOUT_S`, which begins at the first question.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ranklog.abc import Content
from ranklog.journal import store
from ranklog.journal.layout import FACTS
from ranklog.model.errors import RanklogError
from ranklog.model.place import Place
from ranklog.model.record import File
from ranklog.pipeline.waiting import DiskCalls

RUN_DIR_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2


class AwaitedRunDirError(RanklogError):
    """The run directory is not there, and the time limit is not over."""


class RunDirectory:
    """The run directory, as seen from any thread of any rank.

    Args:
        place: This process.
        directory: Where run directories lie.
        ask_run_id: Waits until a monotonic time for the id that rank 0 sends.
        met: Whether this rank has met rank 0, or has given up.

    Attributes:
        known_run_id: Id of the run, None while this rank does not know it.
    """

    def __init__(
        self, place: Place, directory: Path, *, ask_run_id: Callable[[float], str | None], met: Callable[[], bool]
    ) -> None:
        self._place = place
        self._directory = directory
        self._ask_run_id = ask_run_id
        self._met = met
        self._seen = place.is_main
        self._asked_s: float | None = None
        self._looked_s = float("-inf")
        self.known_run_id: str | None = None

    def run_id(self, timeout_s: float) -> str:
        """Return the run's id; on ranks other than 0 it comes through the communicator.

        Raises:
            RanklogError: rank 0 did not send it in time.
        """
        known = self.known_run_id or self._ask_run_id(time.monotonic() + timeout_s)
        if known is None:
            raise RanklogError(
                f"{self._place}: rank 0 did not send the run id within {timeout_s:g} s: open the logger on every rank "
                "after torch.distributed.init_process_group, or give the same run_id= to every rank"
            )
        self.known_run_id = known
        return known

    def path(self, timeout_s: float) -> Path:
        """Return the path of the directory, which may not be there yet; see `run_id`."""
        return self._directory / self.run_id(timeout_s)

    def known_path(self) -> Path | None:
        """Return the path of the directory; None while this rank does not know the run."""
        known = self.known_run_id or self._ask_run_id(0.0)
        return None if known is None else self._directory / known

    def reach_now(self) -> Path:
        """Return the directory if it is there. Waits for the disk only.

        Raises:
            AwaitedRunDirError: it may still come.
            RanklogError: it did not come in time.
            OSError: the disk refused.
        """
        now_s = time.monotonic()
        self._asked_s = now_s if self._asked_s is None else self._asked_s
        waiting = not self._seen and now_s - self._asked_s < RUN_DIR_TIMEOUT_S
        if waiting and (not self._met() or self.known_path() is None or now_s - self._looked_s < LOOK_EVERY_S):
            raise AwaitedRunDirError(f"{self._place}: the run directory is not there yet")
        self._looked_s = now_s
        run_dir = self.path(0.0)
        if (run_dir / FACTS).exists():
            self._seen = True
            return run_dir
        text = f"{self._place}: the run directory {run_dir} is not there"
        if waiting:
            raise AwaitedRunDirError(text)
        raise RanklogError(
            f"{text}: open the logger on rank 0, too. If ranks other than 0 log files, savedir must be on a file system"
            " that all ranks share"
        )

    def reach(self) -> Path:
        """Return the directory, once it is there.

        Raises:
            RanklogError: it did not come in time.
            OSError: the disk refused.
        """
        while True:
            try:
                return self.reach_now()
            except AwaitedRunDirError:
                time.sleep(LOOK_EVERY_S)


class ContentStore:
    """Stores into one run directory; for the drain thread.

    Args:
        run_dir: The run directory.
        disk: Notes how long calls take.
    """

    def __init__(self, run_dir: RunDirectory, disk: DiskCalls) -> None:
        self._run_dir = run_dir
        self._disk = disk

    def store(self, content: Content, inline: bool) -> File:
        """Store one content: in the record itself if it is small and ``inline``, else in the run directory.

        Raises:
            AwaitedRunDirError: the run directory may still come.
            RanklogError: the run directory is not known, or on another file system.
            OSError: the disk refuses.
        """
        source = content.source
        if inline and isinstance(source, bytes) and len(source) <= store.INLINE_BYTES:
            return store.store_bytes(Path(), content.path, source)
        with self._disk:
            run_dir = self._run_dir.reach_now()
            if isinstance(source, Path):
                return store.store_file(run_dir, content.path, source, inline=inline)
            return store.store_bytes(run_dir, content.path, source, inline=inline)
