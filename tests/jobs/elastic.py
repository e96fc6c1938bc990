"""Reads the values that `elastic_job` logs over the restarts of its agents."""

from __future__ import annotations

import time
from pathlib import Path

from ranklog.journal.layout import find_runs
from ranklog.model.record import Attempt, Metrics
from ranklog.testing import captured
from ranklog.view.query import RunView

LIMIT_S = 180.0


def await_value(folder: Path, attempt: int, value: float, coverage: str) -> None:
    """Wait for a value of an attempt, and check all of that attempt."""
    end_s = time.monotonic() + LIMIT_S
    while not (found := values(folder).get(attempt)):
        assert time.monotonic() < end_s, values(folder)
        time.sleep(0.1)
    assert set(found) == {(value, coverage)}


def values(folder: Path) -> dict[int, list[tuple[float, str]]]:
    """The values of each attempt, with their coverage."""
    found: dict[int, list[tuple[float, str]]] = {}
    attempt = 0
    for run in find_runs(folder / "logs"):
        for record in captured(run):
            if isinstance(record, Attempt):
                attempt = record.attempt
            elif isinstance(record, Metrics) and record.coverage is not None:
                coverage = f"{record.coverage.answered}/{record.coverage.world_size}"
                found.setdefault(attempt, []).extend((value, coverage) for value in record.values.values())
    return found


def only_run(folder: Path) -> RunView:
    """The run, which must be the only one."""
    (run,) = find_runs(folder / "logs")
    return RunView(run)
