"""A `ranklog.abc.Sink` that keeps everything in lists, and calls of `log` for rooms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranklog.abc import Call, Content, Job, PendingItem
from ranklog.model.errors import RanklogError
from ranklog.model.place import Place
from ranklog.model.record import File, Item, Record


class ListSink:
    """Keeps records, reports and background jobs; `run_jobs` runs the jobs in their order."""

    def __init__(self, run_dir: Path, place: Place | None = None) -> None:
        self.place = place or Place()
        self.taken: list[Record | PendingItem] = []
        self.jobs: list[tuple[str, Job]] = []
        self.reports: list[tuple[str, str]] = []
        self._run_dir = run_dir

    def submit(self, record: Record, contents: Sequence[Content | File] = ()) -> None:
        self.taken.append(PendingItem(record, tuple(contents)) if isinstance(record, Item) else record)

    def background(self, key: str, job: Job) -> None:
        self.jobs.append((key, job))

    def report(self, code: str, text: str, *, about: str = "") -> None:
        self.reports.append((code, text))

    def run_dir(self, timeout_s: float) -> Path:
        return self._run_dir

    def reach_run_dir(self) -> Path:
        if not self._run_dir.is_dir():
            raise RanklogError(f"the run directory {self._run_dir} is not there")
        return self._run_dir

    def run_jobs(self) -> None:
        """Run what was given to the background."""
        while self.jobs:
            self.taken.extend(self.jobs.pop(0)[1]())


class NoSampler:
    """Measures nothing."""

    def measure(self, kind: str, *, step: int, to: int, every_s: float | None) -> None:
        raise AssertionError(f"kind {kind!r} is not measured here")


def call_of(item: Any, name: str, kind: str, *, step: int = 0, **options: Any) -> Call:
    """A call of `log` for one backend."""
    return Call(item, name, kind, step, options, 1, 1, 1, (), 0.0, NoSampler(), lambda: None)
