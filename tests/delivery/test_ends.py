"""A backend is closed once, behind everything that the journal has for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from items import Run, metrics

from ranklog.abc import RunContext
from ranklog.delivery.feed import REDELIVER
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursor
from ranklog.journal.writer import JournalWriter
from ranklog.model.record import End, Entry, Metrics, Record, Status
from ranklog.model.spec import BackendSpec


class WrittenAnew:
    """Begins from the start whenever it is opened, as W&B's offline directory does."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.closed: list[Status | None] = []
        self.opened = 0

    def open(self, *, context: RunContext) -> dict[str, str]:
        self.opened += 1
        self.steps = []
        return {REDELIVER: "0"}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        self.steps += [entry.record.step for entry in entries if isinstance(entry.record, Metrics)]

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        self.closed.append(status)


def run_with(folder: Path, *segments: Sequence[Record]) -> Run:
    run = Run(folder / "run", BackendSpec(backend="anew"))
    run._writer.append(segments[0])
    run._writer.close()
    for records in segments[1:]:
        writer = JournalWriter(run.dir, run.attempt)
        writer.append(records)
        writer.close()
    return run


@pytest.mark.parametrize("later", [False, True], ids=["at once", "after the first end was delivered"])
def test_what_is_merged_behind_the_end_is_delivered_before_the_backend_is_closed(tmp_path: Path, later: bool) -> None:
    end = End("FINISHED", 2)
    first, merged = [metrics(0, {"loss": 1.0}), end], [metrics(1, {"loss": 2.0}), end]
    run = run_with(tmp_path, first) if later else run_with(tmp_path, first, merged)
    backend = WrittenAnew()

    def sync() -> None:
        pump = Pump(run.dir, create=lambda name: backend)
        for count, _ in enumerate(pump.run(Finish(None))):
            assert count < 20, "delivery does not come to an end"
        pump.close()

    sync()
    if later:
        assert (backend.steps, backend.closed) == ([0], ["FINISHED"])
        writer = JournalWriter(run.dir, run.attempt)
        writer.append(merged)
        writer.close()
        sync()
    assert backend.steps == [0, 1]
    assert backend.closed == ["FINISHED"] * (2 if later else 1)
    sync()
    assert backend.opened <= 3, "nothing is left to do"
    assert load_cursor(run.dir, 0, "anew").status == "FINISHED"
