"""MLflow's default database stays sound while jobs on two nodes share a savedir on a network file system.

With one database for both jobs on sshfs, the first try damaged it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from launch import job_environment
from mlflow_database import place_database
from shared_disks import SharedDisk, mounted, wait_all

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("mlflow_job.py")
STEPS = 40
NAME = os.environ.get("RANKLOG_TEST_DISK", "sshfs")
ROUNDS = int(os.environ.get("RANKLOG_TEST_ROUNDS", "1"))
"""Pairs of jobs. `benchmarks.soak.shared_disks` starts more."""
CLI = (sys.executable, "-m", "ranklog.cli")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedDisk]:
    """A folder that two nodes share."""
    with mounted(NAME, tmp_path_factory.mktemp(NAME)) as disk:
        yield disk


def start(disk: SharedDisk, node: str, *words: object, **environ: str) -> subprocess.Popen[str]:
    """Start a program on a node."""
    env = job_environment(**environ)
    env.pop("MLFLOW_TRACKING_URI", None)
    command = disk.on(node, *map(str, words))
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train(disk: SharedDisk, node: str, name: str, run: str, first: int = 0, uri: str = "") -> subprocess.Popen[str]:
    return start(disk, node, sys.executable, JOB, disk.path / name, run, first, first + STEPS, uri)


def steps_of_runs(database: Path) -> dict[str, list[int]]:
    """Return the steps of all points by name of the MLflow run, after SQLite found the database sound."""
    found: dict[str, list[int]] = {}
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT runs.name, step FROM metrics JOIN runs USING (run_uuid) ORDER BY step"
        for run, step in connection.execute(query):
            found.setdefault(run, []).append(step)
    return found


@pytest.fixture(scope="module", params=range(ROUNDS))
def pair(disk: SharedDisk, request: pytest.FixtureRequest) -> str:
    """Name of a savedir in which two jobs trained at once: run one on node-a, run two on node-b."""
    name = f"pair-{request.param}"
    wait_all([train(disk, "node-a", name, "one"), train(disk, "node-b", name, "two")])
    return name


def test_two_jobs_at_once_keep_sound_databases_that_a_sync_gathers_into_one(
    disk: SharedDisk, pair: str, tmp_path: Path
) -> None:
    every = list(range(STEPS))
    databases = disk.server / pair / "mlflow"
    assert {path.name for path in databases.rglob("*.db")} == {"one.db", "two.db"}
    for run in ("one", "two"):
        assert steps_of_runs(databases / "runs" / f"{run}.db") == {run: every}
    runs, gathered = disk.path / pair / "runs", tmp_path / "all.db"
    wait_all([start(disk, "node-b", *CLI, "sync", "--to", f"mlflow=sqlite:///{gathered}", RANKLOG_DIR=str(runs))])
    assert steps_of_runs(gathered) == {"one": every, "two": every}


def test_a_run_that_continues_on_the_other_node_has_each_point_once(disk: SharedDisk, pair: str) -> None:
    wait_all([train(disk, "node-b", pair, "one", STEPS)])
    database = disk.server / pair / "mlflow" / "runs" / "one.db"
    assert steps_of_runs(database) == {"one": list(range(2 * STEPS))}


def test_the_users_own_sqlite_file_is_written_with_a_warning(disk: SharedDisk) -> None:
    place_database(disk.server / "mine.db")
    uri = f"sqlite:///{disk.path}/mine.db"
    (output,) = wait_all([train(disk, "node-a", "own", "run", uri=uri)])
    assert f"mine.db is a SQLite file on {disk.kind}" in output
    assert steps_of_runs(disk.server / "mine.db") == {"run": list(range(STEPS))}


def test_the_doctor_says_that_each_run_gets_a_database(disk: SharedDisk) -> None:
    (output,) = wait_all([start(disk, "node-a", *CLI, "doctor", "--json", disk.path / "new")])
    checks = {check["name"]: check for check in json.loads(output)["checks"]}
    assert disk.kind in checks["run directory"]["text"]
    assert "network file system" in checks["run directory"]["text"]
    assert "one SQLite file per run" in checks["server of mlflow"]["text"]
    assert not list(disk.server.glob(".ranklog-doctor*"))
