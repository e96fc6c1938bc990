"""Killed workers and ended drivers of Ray: the run continues or is closed, with the right status in MLflow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray_head
from cluster import wait_until

from ranklog.journal.layout import find_runs
from ranklog.model.record import Attempt, End, Metrics
from ranklog.testing import captured, series
from ranklog.view.deliveries import deliveries_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FULL = bool(os.environ.get("RANKLOG_TEST_FULL"))  # set by `benchmarks.soak.full_size`
JOB = Path(__file__).with_name("ray_ends_job.py")


def start(case: str, folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, str(JOB), case, str(folder)],
            env=ray_head.of_driver({**os.environ, "RAY_TRAIN_V2_ENABLED": "1"}),
            stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def in_mlflow(folder: Path, run: Path) -> tuple[str, dict[int, float]]:
    """Return the status of the run and its losses, as MLflow's client reads them."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    run_id = deliveries_of(run)[0].known["run_id"]
    losses = client.get_metric_history(run_id, "loss")
    return client.get_run(run_id).info.status, {each.step: each.value for each in losses}


@pytest.mark.skipif(not FULL, reason="a minute, and once a mean of one rank: a case of benchmarks.soak.full_size")
def test_a_run_whose_workers_are_killed_continues_with_another_attempt_each_and_finishes(tmp_path: Path) -> None:
    driver = start("workers", tmp_path)
    driver.communicate(timeout=500)
    output = (tmp_path / "output").read_text()
    assert driver.returncode == 0, output
    (run,) = find_runs(tmp_path)
    found = captured(run)
    assert [record.attempt for record in found if isinstance(record, Attempt)] == [0, 1, 2], output
    expected = {attempt: 10 * attempt + 0.5 for attempt in range(3)}
    assert series(found, "loss") == expected
    assert {r.coverage.contributed for r in found if isinstance(r, Metrics) and r.coverage} == {2}
    assert [record.status for record in found if isinstance(record, End)][-1] == "FINISHED"
    assert in_mlflow(tmp_path, run) == ("FINISHED", expected)


@pytest.mark.parametrize("end", ["is killed", *(["exits"] if FULL else [])])
def test_a_run_whose_driver_ends_is_closed_as_killed_by_its_forwarder(end: str, tmp_path: Path) -> None:
    driver = start("driver", tmp_path)
    logged = [tmp_path / f"logged{rank}" for rank in range(2)]
    try:
        wait_until(
            lambda: all(map(Path.exists, logged)) or driver.poll() is not None, 400, (tmp_path / "output").read_text
        )
        if end == "exits":
            driver.communicate(timeout=100)
            assert driver.returncode == 0, (tmp_path / "output").read_text()
    finally:
        driver.kill()
        driver.wait()
    (run,) = find_runs(tmp_path)
    wait_until(lambda: deliveries_of(run)[0].status is not None)
    assert deliveries_of(run)[0].waiting == 0
    assert in_mlflow(tmp_path, run) == ("KILLED", {0: 0.5})
