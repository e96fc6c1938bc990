"""A list of runs is the same with and without its cache, and reads no journal of a run that did not change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from journals import write

from ranklog.journal.cursor import Cursor, save_cursor
from ranklog.model.record import End, Event, Metrics
from ranklog.view.runs import listing
from ranklog.view.runs.listing import list_runs, remove_lists
from ranklog.view.summary import RunSummary, summarise

ENDED = [Metrics(0, 1, -1, {"loss": 1.0}), End("FINISHED", 2)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / "runs" / f"run-{number}", 0, ENDED)
    write(tmp_path / "runs" / "run-3", 0, ENDED[:1])
    return tmp_path / "runs"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose journal is read."""
    names: list[str] = []

    def note(run_dir: Path) -> RunSummary:
        names.append(run_dir.name)
        return summarise(run_dir)

    monkeypatch.setattr(listing, "summarise", note)
    return names


def test_only_runs_that_changed_or_have_not_ended_are_read_again(runs, read):
    first, errors = list_runs(runs)
    assert (sorted(read), errors) == (["run-0", "run-1", "run-2", "run-3"], [])
    read.clear()
    write(runs / "run-1", 1, [Event("warning", "lost", "x", 3), End("FAILED", 4)])
    again, _ = list_runs(runs)
    assert sorted(read) == ["run-1", "run-3"]
    assert [run.status for run in again if run.run_dir.endswith("run-1")] == ["FAILED"]
    assert [run for run in again if not run.run_dir.endswith("run-1")] == [
        run for run in first if not run.run_dir.endswith("run-1")
    ]


def deliver(runs: Path) -> None:
    save_cursor(runs / "run-0", 0, Cursor(backend="csv", next_ordinal=3, status="FINISHED"))


def replace(runs: Path) -> None:
    """Write another journal of the same size at the same time."""
    (journal,) = (runs / "run-0").glob("journal-*")
    stat = journal.stat()
    data = journal.read_bytes()
    journal.unlink()
    journal.write_bytes(data)
    os.utime(journal, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("change", [deliver, replace])
def test_a_change_of_cursor_or_journal_is_seen(runs, read, change: Callable[[Path], None]):
    list_runs(runs)
    read.clear()
    change(runs)
    assert list_runs(runs)[0] == [summarise(Path(run.run_dir)) for run in list_runs(runs)[0]]
    assert "run-0" in read


def test_without_its_cache_or_with_a_damaged_one_the_list_is_the_same(runs, tmp_path, monkeypatch):
    wanted = list_runs(runs)
    (kept,) = (tmp_path / "ranklog-cache").rglob("lists/*/*")
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(kept.read_bytes()[:-1])
    assert list_runs(runs) == wanted
    remove_lists(tmp_path / "ranklog-cache")
    assert not kept.exists() and list_runs(runs) == wanted
    monkeypatch.setenv("RANKLOG_CACHE_DIR", "/proc/none")
    assert list_runs(runs) == wanted


def test_a_run_that_cannot_be_read_is_an_error_beside_the_others(runs):
    (runs / "run-2" / "run.msgpack").write_bytes(b"x")
    found, (error,) = list_runs(runs)
    assert len(found) == 3 and "run-2 is not a run directory" in str(error)
