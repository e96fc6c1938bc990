"""On file systems that machines share, each run has an MLflow database of its own, written again when it is damaged.

A database that is already there for a run is used on every file system, so these tests need no shared one. Two jobs on
sshfs are in `tests/filesystems`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from mlflow import MlflowClient

from ranklog import MLFlowLogger
from ranklog.backends.mlflow import run_database
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursors
from ranklog.journal.file_system import FileSystem

RUN = "night"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's own database, which exists but holds nothing."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RANKLOG_DIR", raising=False)
    path = tmp_path / "logs" / "mlflow" / "runs" / f"{RUN}.db"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def train(tmp_path: Path, first: int, tracking_uri: str | None = None) -> Path:
    """Log ten points as one attempt, and deliver them; returns the run directory."""
    logger = MLFlowLogger(tmp_path / "logs", tracking_uri=tracking_uri, run_id=RUN, forward="later", log_freq="batch")
    logger.create_logger_context()
    for step in range(first, first + 10):
        logger.log(float(step), "loss", kind="metric", step=step)
    logger.destroy_logger_context()
    run_dir = tmp_path / "logs" / "runs" / RUN
    deliver(run_dir)
    return run_dir


def deliver(run_dir: Path) -> None:
    pump = Pump(run_dir)
    try:
        for feed in pump.run(Finish()):
            assert feed.failures == 0, feed.cursor.error
    finally:
        pump.close()


def points(database: Path) -> list[int]:
    """Steps of all points in all MLflow runs of a database, after SQLite found it sound."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return sorted(step for (step,) in connection.execute("SELECT step FROM metrics"))


def overwrite(database: Path) -> None:
    """Damage what is behind the header, as an outdated page of another machine does."""
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x55" * (database.stat().st_size - 4096))


def cut(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(10_000)


def begin(database: Path) -> None:
    """Leave what a process leaves that dies while MLflow creates the tables."""
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")


@pytest.mark.parametrize("harm", [overwrite, cut, Path.unlink])
def test_a_damaged_or_missing_database_is_written_again_from_the_journal(
    harm: Callable[[Path], None], tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_database, "file_system_of", lambda _: FileSystem("/", "nfs4"))
    train(tmp_path, 0)
    assert points(database) == list(range(10))
    harm(database)
    train(tmp_path, 10)
    assert points(database) == list(range(20))
    assert database.with_suffix(".damaged").exists() == (harm is not Path.unlink)


def test_a_database_whose_creation_was_interrupted_is_created_again(tmp_path: Path, database: Path) -> None:
    begin(database)
    train(tmp_path, 0)
    assert points(database) == list(range(10))


def test_a_rollback_journal_of_the_damaged_database_does_not_reach_the_new_one(tmp_path: Path, database: Path) -> None:
    train(tmp_path, 0)
    overwrite(database)
    left = database.with_name(f"{database.name}-journal")
    left.write_bytes(b"left by a process that was killed" * 100)
    train(tmp_path, 10)
    assert points(database) == list(range(20))
    assert not left.exists()


def test_the_new_database_is_private_and_the_run_continues_in_it(tmp_path: Path, database: Path) -> None:
    run_dir = train(tmp_path, 0)
    assert database.stat().st_mode & 0o777 == 0o600
    (before,) = (cursor.known for _, cursor in load_cursors(run_dir))
    train(tmp_path, 10)
    (after,) = (cursor.known for _, cursor in load_cursors(run_dir))
    assert after == before
    assert after["tracking_uri"] == f"sqlite:///{database}"
    assert points(database) == list(range(20))


def test_a_run_that_began_in_the_database_of_all_runs_moves_to_its_own(tmp_path: Path, database: Path) -> None:
    database.unlink()
    train(tmp_path, 0)
    together = tmp_path / "logs" / "mlflow" / "mlflow.db"
    assert points(together) == list(range(10))
    database.touch()
    train(tmp_path, 10)
    assert points(database) == list(range(20))
    assert points(together) == list(range(10))


def test_a_tracking_uri_of_the_user_is_kept_with_a_warning_where_two_jobs_would_damage_it(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_database, "file_system_of", lambda _: FileSystem("/", "nfs4"))
    own = tmp_path / "mine.db"
    run_dir = train(tmp_path, 0, f"sqlite:///{own}")
    assert points(own) == list(range(10))
    assert database.stat().st_size == 0
    (known,) = (cursor.known for _, cursor in load_cursors(run_dir))
    assert "nfs4" in known["warning"] and "leave tracking_uri out" in known["warning"]
    assert MlflowClient(f"sqlite:///{own}").get_run(known["run_id"]).info.status == "FINISHED"
