"""`ranklog sync` in real processes: several destinations, watching, kills, two at once, throttling."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow_database import place_database

pytest.importorskip("mlflow")
pytest.importorskip("tensorboard")

from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ranklog import JournalLogger, LoggersCollection, MLFlowLogger, TensorBoardLogger
from ranklog.journal.cursor import load_cursors

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("follow_job.py")


def sync(*arguments: object, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ranklog.cli", "sync", *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "200", **environ}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def known(run_dir: Path, backend: str) -> dict[str, str]:
    return next((cursor.known for _, cursor in load_cursors(run_dir) if cursor.backend.startswith(backend)), {})


def in_mlflow(run_dir: Path) -> list[tuple[int, float]]:
    facts = known(run_dir, "mlflow")
    if not facts:
        return []
    history = MlflowClient(tracking_uri=facts["tracking_uri"]).get_metric_history(facts["run_id"], "loss")
    return [(metric.step, metric.value) for metric in history]


def in_tensorboard(run_dir: Path) -> list[tuple[int, float]]:
    facts = known(run_dir, "tensorboard")
    if not facts:
        return []
    found = EventAccumulator(facts["folder"], size_guidance={"scalars": 0}).Reload()
    return [(e.step, e.value) for e in found.Scalars("loss")] if "loss" in found.Tags()["scalars"] else []


def steps(count: int) -> list[tuple[int, float]]:
    return [(step, float(step)) for step in range(count)]


@pytest.fixture
def savedir(tmp_path: Path) -> Path:
    place_database(tmp_path / "logs" / "mlflow" / "mlflow.db")
    return tmp_path / "logs"


def train(savedir: Path, count: int, run_id: str = "done") -> Path:
    logger = LoggersCollection(
        [
            MLFlowLogger(savedir, forward="later", run_id=run_id),
            TensorBoardLogger(savedir, forward="later", run_id=run_id),
        ]
    )
    with logger.start_logging():
        for step in range(count):
            logger.log(float(step), "loss", step=step)
        return logger.run_dir


class Training:
    """A `follow_job`."""

    def __init__(self, savedir: Path, run_id: str) -> None:
        self.run_dir = savedir / "runs" / run_id
        command = [sys.executable, str(JOB), str(savedir), run_id]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def _read(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline()

    def step(self, count: int) -> None:
        assert self.process.stdin is not None
        for _ in range(count):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            self._read()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(120) == 0


@pytest.fixture
def start(savedir: Path) -> Iterator[Callable[[str], Training]]:
    started: list[Training] = []

    def one(run_id: str) -> Training:
        started.append(Training(savedir, run_id))
        return started[-1]

    yield one
    for training in started:
        training.process.kill()


def test_watching_delivers_new_records_of_old_and_new_runs_until_interrupted(
    savedir: Path, start: Callable[[str], Training]
) -> None:
    first = start("first")
    watching = sync(savedir, "--watch", "--every", "0.2", "--json")
    try:
        first.step(5)
        until(lambda: in_mlflow(first.run_dir) == steps(5) and in_tensorboard(first.run_dir) == steps(5))
        second = start("second")
        second.step(3)
        first.step(5)
        until(lambda: in_mlflow(second.run_dir) == steps(3) and in_mlflow(first.run_dir) == steps(10))
        facts = known(first.run_dir, "mlflow")
        client = MlflowClient(tracking_uri=facts["tracking_uri"])
        assert client.get_run(facts["run_id"]).info.status == "RUNNING"
        first.end()
        until(lambda: client.get_run(facts["run_id"]).info.status == "FINISHED")
        second.process.kill()
        second.process.wait()
        facts = known(second.run_dir, "mlflow")
        until(lambda: client.get_run(facts["run_id"]).info.status == "KILLED")
    finally:
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert {o["run_id"]: o["status"] for o in json.loads(out)} == {"first": "FINISHED", "second": "KILLED"}
    assert "first: FINISHED, delivered" in err


def test_each_of_several_destinations_gets_everything(savedir: Path, tmp_path: Path) -> None:
    logger = JournalLogger(savedir, run_id="plain")
    with logger.start_logging():
        for step in range(20):
            logger.log(float(step), "loss", step=step)
    database = place_database(tmp_path / "other.db")
    to = ["--to", f"mlflow=sqlite:///{database}", "--to", f"tensorboard={tmp_path}/other"]
    done = sync(savedir, *to, "--json")
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    (outcome,) = json.loads(out)
    assert [d["waiting"] for d in outcome["deliveries"]] == [0, 0]
    run_dir = savedir / "runs" / "plain"
    assert in_mlflow(run_dir) == steps(20)
    assert in_tensorboard(run_dir) == steps(20)
    twice = sync(savedir, "--to", "console=x", "--to", "console=x")
    assert "given twice" in twice.communicate(timeout=60)[1]
    assert twice.returncode == 2


def test_a_sync_that_is_killed_repeatedly_delivers_everything_once(savedir: Path) -> None:
    run_dir = train(savedir, 6000)
    for pause_s in (0.0, 0.3, 0.6):
        killed = sync(run_dir)
        before = [cursor.next_ordinal for _, cursor in load_cursors(run_dir)]
        # From the moment on when it has begun to deliver.
        until(lambda before=before: [c.next_ordinal for _, c in load_cursors(run_dir)] != before)  # type: ignore[misc]
        time.sleep(pause_s)
        killed.kill()
        killed.communicate()
    done = sync(run_dir)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, out + err
    assert in_mlflow(run_dir) == steps(6000)
    assert in_tensorboard(run_dir) == steps(6000)


def test_two_syncs_at_once_deliver_everything_once(savedir: Path) -> None:
    run_dir = train(savedir, 3000)
    both = [sync(run_dir) for _ in range(2)]
    for each in both:
        each.communicate(timeout=120)
    assert 0 in {each.returncode for each in both}
    assert {each.returncode for each in both} <= {0, 1}, "the one that came too late says so"
    assert in_mlflow(run_dir) == steps(3000)
    assert in_tensorboard(run_dir) == steps(3000)
