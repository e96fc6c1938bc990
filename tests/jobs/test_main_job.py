"""Whole jobs, as users start them: every rank logs, one true record comes out."""

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from launch import job_environment, torchrun
from mlflow_database import place_database

from ranklog.journal import layout, store
from ranklog.model.record import Coverage, End, Event, Item, Metrics
from ranklog.testing import captured, series

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"

HEAD = """
import os, sys, torch, torch.distributed as dist
from ranklog import *
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
"""


def only_run(directory: Path) -> Path:
    runs = list(layout.find_runs(directory))
    assert len(runs) == 1
    return runs[0]


def metrics(run: Path) -> list[Metrics]:
    return [record for record in captured(run) if isinstance(record, Metrics)]


def test_the_example_gives_one_right_run_in_mlflow_and_tensorboard(tmp_path: Path) -> None:
    done = torchrun(
        2, EXAMPLES / "train_digits.py", "--epochs", "2", "--savedir", "logs", "--backends", "mlflow,tensorboard",
        cwd=tmp_path, timeout_s=240,
    )  # fmt: skip
    assert done.code == 0, done.output

    import mlflow.pytorch
    import torch
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    uri = f"sqlite:///{tmp_path}/logs/mlflow/mlflow.db"
    client = MlflowClient(uri)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.name"] == "adam"
    assert run.data.tags["ranklog.coverage"] == "2/2"
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert [m.step for m in losses] == [*range(0, 23, 5), *range(23, 46, 5)]
    assert losses[-1].value < losses[0].value
    assert 0.5 < run.data.metrics["test/accuracy"] <= 1.0
    mlflow.set_tracking_uri(uri)
    model = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/digits-net")
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)

    (folder,) = (tmp_path / "logs" / "tensorboard").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    read = {s.step: s.value for s in events.Scalars("train/loss")}
    assert read == pytest.approx({m.step: m.value for m in losses}, rel=1e-6)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_that_log_the_same_or_different_things_give_one_true_record(ranks: int, tmp_path: Path) -> None:
    script = (
        HEAD
        + """
    logger = JournalLogger("logs", log_freq="batch")
    with logger.start_logging():
        for step in range(20):
            both = {"loss": rank + step, "weighted": float(rank)}
            logger.log_metrics(both, step=step, reduce="mean", weight=rank + 1)
            logger.log(float(rank), "spread", step=step, reduce="stats")
            logger.log(torch.tensor(rank), "total", step=step, reduce="sum")
            if rank == size - 1:
                logger.log(float(step), "last_stage", step=step, reduce="mean")
            if step < 5 + rank:
                logger.log(1.0, "uneven", step=step, reduce="sum")
            logger.log(float(rank), "mine", step=step, reduce="per_rank")
            logger.log(step * 1.0, "plain", step=step)
        logger.log(1.0, f"only_{rank}", step=99, reduce="max")
        for epoch in range(2):
            dist.all_reduce(torch.ones(1))
            logger.log(float(rank), "val", step=epoch, reduce="mean")
        stop = logger.reduce_now(rank, "max")
        assert stop == size - 1, stop
        ids = [None] * size
        dist.all_gather_object(ids, logger.ranklog_run_id)
        assert len(set(ids)) == 1, ids
    """
    )
    done = torchrun(ranks, textwrap.dedent(HEAD) + textwrap.dedent(script[len(HEAD) :]), cwd=tmp_path)
    assert done.code == 0, done.output
    assert "RanklogWarning" not in done.output
    run = only_run(tmp_path)
    records = captured(run)
    every = range(ranks)
    weights = sum(r + 1 for r in every)
    mean = sum(r * (r + 1) for r in every) / weights
    assert series(records, "weighted") == pytest.approx(dict.fromkeys(range(20), mean))
    assert series(records, "loss") == pytest.approx({step: step + mean for step in range(20)})
    assert series(records, "total") == dict.fromkeys(range(20), float(sum(every)))
    assert series(records, "spread/max_rank") == dict.fromkeys(range(20), ranks - 1.0)
    assert series(records, "spread/count") == dict.fromkeys(range(20), float(ranks))
    assert series(records, "last_stage") == {step: float(step) for step in range(20)}
    assert series(records, "uneven") == {
        step: float(sum(step < 5 + r for r in every)) for step in range(20) if any(step < 5 + r for r in every)
    }
    for rank in every:
        assert series(records, f"mine/rank_{rank:03d}") == dict.fromkeys(range(20), float(rank))
        assert series(records, f"only_{rank}") == {99: 1.0}
    assert series(records, "val") == pytest.approx(dict.fromkeys(range(2), (ranks - 1) / 2))
    assert series(records, "plain") == {step: float(step) for step in range(20)}
    reduced = [m for m in metrics(run) if m.coverage is not None]
    assert {(m.coverage.answered, m.coverage.world_size) for m in reduced if m.coverage} == {(ranks, ranks)}
    assert not any(m.corrects for m in reduced)
    assert [r.status for r in records if isinstance(r, End)] == ["FINISHED"]


def test_a_logger_opened_on_rank_0_only_hangs_nobody(tmp_path: Path) -> None:
    script = (
        HEAD
        + """
if rank == 0:
    logger = JournalLogger("logs")
    with logger.start_logging(exit_timeout=10):
        logger.log(1.0, "plain", step=0)
        logger.log(3.0, "reduced", step=0, reduce="mean")
dist.barrier()
print(f"trained on {rank}\\n", end="", flush=True)
"""
    )
    done = torchrun(2, script, cwd=tmp_path, timeout_s=60, RANKLOG_REDUCE_TIMEOUT="2")
    assert done.code == 0, done.output
    assert "trained on 1" in done.output
    assert "ranks cannot be reached" in done.output
    records = captured(only_run(tmp_path))
    assert series(records, "plain") == {0: 1.0}
    assert series(records, "reduced") == {0: 3.0}
    (reduced,) = [r for r in records if isinstance(r, Metrics) and r.coverage]
    assert reduced.coverage == Coverage(1, 2, 1)
    assert any(isinstance(r, Event) and r.code == "reduce" for r in records)


def test_a_value_that_one_rank_alone_reduces_says_so_wherever_coverage_is_shown(tmp_path: Path) -> None:
    script = (
        HEAD
        + """
logger = LoggersCollection([ConsoleLogger("logs"), MLFlowLogger("logs"), CSVLogger("logs")])
with logger.start_logging():
    if rank == 0:
        logger.log(3.0, "alone", step=0, reduce="mean")
    logger.log(float(rank), "both", step=0, reduce="mean")
dist.barrier()
"""
    )
    done = torchrun(2, script, cwd=tmp_path)
    assert done.code == 0, done.output
    run, words = only_run(tmp_path), "1 of 2 ranks had a value"
    assert {name: r.coverage for r in metrics(run) for name in r.values} == {
        "alone": Coverage(2, 2, 1),
        "both": Coverage(2, 2, 2),
    }
    assert f"alone 3  (mean, {words})" in done.output and "both 0.5  (mean over 2/2 ranks)" in done.output

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow/mlflow.db")
    (kept,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert (kept.data.tags["ranklog.coverage"], kept.data.tags["ranklog.coverage.partial_steps"]) == (words, "0")
    command = [sys.executable, "-m", "ranklog.cli", "show", str(run)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "140"})
    assert words in shown.stdout and "2/2" in shown.stdout
    (table,) = (tmp_path / "logs" / "csv").glob("*/metrics.csv")
    assert {row["name"]: row["contributed"] for row in csv.DictReader(table.open())} == {"alone": "1", "both": "2"}


def test_what_other_ranks_log_is_kept_apart_by_rank_in_one_run(tmp_path: Path) -> None:
    script = (
        HEAD
        + """
logger = JournalLogger("logs", log_on_workers=[0, 1])
with logger.start_logging():
    logger.log(float(rank), "m", step=0)
    logger.log(f"from {rank}", "note", kind="text", step=0)
    logger.save_hyperparameters({"rank": rank})
"""
    )
    done = torchrun(3, script, cwd=tmp_path)
    assert done.code == 0, done.output
    run = only_run(tmp_path)
    records = captured(run)
    assert series(records, "m/rank_000") == {0: 0.0}
    assert series(records, "m/rank_001") == {0: 1.0}
    notes = {r.name: store.read_file(run, r.files[0]) for r in records if isinstance(r, Item)}
    assert notes == {"rank_000/note": b"from 0", "rank_001/note": b"from 1"}


def test_a_rank_that_dies_stops_neither_the_others_nor_the_record(tmp_path: Path) -> None:
    script = (
        HEAD
        + """
import time, signal
logger = JournalLogger("logs", log_freq="batch")
logger.create_logger_context()
for step in range(10):
    logger.log(float(rank), "loss", step=step, reduce="mean")
assert logger.flush(20)
dist.barrier()
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
for step in range(10, 20):
    logger.log(float(rank), "loss", step=step, reduce="mean")
logger.destroy_logger_context(exit_timeout=10)
print("rank 0 is done", flush=True)
"""
    )
    done = torchrun(2, script, cwd=tmp_path, timeout_s=90, RANKLOG_REDUCE_TIMEOUT="3")
    assert "rank 0 is done" in done.output or done.code != 0
    records = captured(only_run(tmp_path))
    losses = [r for r in records if isinstance(r, Metrics)]
    assert all(r.values["loss"] == 0.5 for r in losses if str(r.coverage) == "2/2")
    assert {r.step for r in losses if str(r.coverage) == "2/2"} >= set(range(9))


KILLED = """
import os, signal, sys
from ranklog import *
logger = LoggersCollection([
    MLFlowLogger("logs", log_freq="batch"), TensorBoardLogger("logs", log_freq="batch"),
    WandBLogger("logs", offline_mode=True, log_freq="batch"),
])
logger.create_logger_context()
logger.save_hyperparameters({"lr": 0.1})
for step in range(300):
    logger.log_metrics({"loss": 1.0 / (step + 1), "acc": step / 300}, step=step)
assert logger.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_trainer_killed_after_flush_loses_nothing_and_its_run_is_closed_as_killed(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(KILLED)
    place_database(tmp_path / "logs" / "mlflow" / "mlflow.db")
    trainer = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=job_environment(), timeout=60, check=False)
    assert trainer.returncode == -signal.SIGKILL
    run = only_run(tmp_path)
    wait = [sys.executable, "-m", "ranklog.cli", "sync", str(run), "--json"]
    cursors = run / "cursors"
    _until(lambda: len(_statuses(cursors)) == 3 and all(_statuses(cursors).values()))
    assert set(_statuses(cursors).values()) == {"KILLED"}
    again = subprocess.run(wait, cwd=tmp_path, env=job_environment(), capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stdout + again.stderr

    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from wandb_reader import OfflineRun

    client = MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow/mlflow.db")
    (found,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert found.info.status == "KILLED"
    history = [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, "loss")]
    assert sorted(history) == [(step, 1.0 / (step + 1)) for step in range(300)]
    (folder,) = (tmp_path / "logs" / "tensorboard").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    assert [s.step for s in events.Scalars("loss")] == list(range(300))
    (offline,) = (tmp_path / "logs" / "wandb").rglob("run-*.wandb")
    read = OfflineRun(offline)
    assert [step for step, _ in read.rows("loss")] == list(range(300))
    assert read.exit_code not in (None, 0)


def _statuses(cursors: Path) -> dict[str, str | None]:
    if not cursors.is_dir():
        return {}
    return {p.name: json.loads(p.read_text())["status"] for p in cursors.glob("*.json")}


def _until(condition: object, timeout_s: float = 90) -> None:
    import time

    end = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "the forwarder did not finish in time"
        time.sleep(0.1)


def test_an_uncaught_exception_without_a_with_block_fails_the_run(tmp_path: Path) -> None:
    script = (
        "from ranklog import *\nl = JournalLogger('logs')\nl.create_logger_context()\nl.log(1.0, 'x', step=0)\n1 / 0\n"
    )
    (tmp_path / "train.py").write_text(script)
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=job_environment(), capture_output=True)
    assert done.returncode == 1
    records = captured(only_run(tmp_path))
    assert series(records, "x") == {0: 1.0}
    (end,) = [r for r in records if isinstance(r, End)]
    assert (end.status, end.reason) == ("FAILED", "ZeroDivisionError: division by zero")


def test_importing_ranklog_loads_no_framework_and_no_backend() -> None:
    code = (
        "import sys, ranklog\n"
        "bad = {'torch', 'numpy', 'mlflow', 'wandb', 'tensorboard', 'typer', 'mpi4py', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr


def test_importing_ranklog_loads_no_slow_module_that_only_some_calls_need() -> None:
    code = (
        "import sys; before = set(sys.modules); import ranklog\n"
        "slow = {'importlib.metadata', 'email', 'zipfile', 'tempfile', 'subprocess', 'asyncio', 'logging'}\n"
        "bad = slow & (set(sys.modules) - before)\n"
        "sys.exit(f'loaded: {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr


def test_a_backend_that_is_away_is_one_warning_and_the_command_that_delivers_later(tmp_path: Path) -> None:
    script = """
from ranklog import *
logger = LoggersCollection([MLFlowLogger("logs", tracking_uri="http://127.0.0.1:9"), TensorBoardLogger("logs")])
with logger.start_logging(exit_timeout=8):
    for step in range(100):
        logger.log(step, "x", step=step)
print("trained to the end")
"""
    (tmp_path / "train.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=job_environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "trained to the end\n"), done.stderr
    assert done.stderr.count("cannot deliver to mlflow") == 1
    run = only_run(tmp_path)
    assert f"ranklog sync {run}" in done.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "ranklog.cli", "ls", "logs"], cwd=tmp_path, env=job_environment(), capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert "mlflow" in shown.stdout
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (tmp_path / "logs" / "tensorboard").iterdir()
    assert len(EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload().Scalars("x")) == 100


def test_a_process_may_end_right_after_closing_and_after_several_loggers(tmp_path: Path) -> None:
    script = (
        HEAD
        + """
values = {f"m{i}": 0.5 for i in range(50)}
for _ in range(2):
    logger = JournalLogger("logs", log_freq="batch")
    with logger.start_logging():
        for step in range(3000):
            logger.log_metrics(values, step=step, batch_idx=step, reduce="mean")
"""
    )
    done = torchrun(2, script, cwd=tmp_path)
    assert done.code == 0, done.output
    assert "terminate called" not in done.output
    runs = [captured(run) for run in layout.find_runs(tmp_path)]
    assert [len(series(records, "m49")) for records in runs] == [3000, 3000]


def test_a_rank_that_fails_is_named_in_the_run(tmp_path: Path) -> None:
    script = (
        HEAD
        + """
logger = JournalLogger("logs", log_freq="batch")
with logger.start_logging(exit_timeout=10):
    for step in range(10):
        logger.log(1.0, "x", step=step, reduce="mean")
    logger.flush()
    if rank == 1:
        raise ValueError("by hand")
"""
    )
    done = torchrun(2, script, cwd=tmp_path)
    assert done.code != 0
    events = [r for r in captured(only_run(tmp_path)) if isinstance(r, Event)]
    assert any(e.code == "rank_failed" and e.rank == 1 and "ValueError: by hand" in e.text for e in events), events


def test_a_logger_on_rank_0_that_reduces_nothing_is_quiet_about_the_others(tmp_path: Path) -> None:
    script = (
        HEAD
        + """
if rank == 0:
    logger = JournalLogger("logs")
    with logger.start_logging():
        logger.log(1.0, "plain", step=0)
dist.barrier()
"""
    )
    done = torchrun(2, script, cwd=tmp_path)
    assert done.code == 0, done.output
    assert "RanklogWarning" not in done.output
    records = captured(only_run(tmp_path))
    assert series(records, "plain") == {0: 1.0}
    assert not [r for r in records if isinstance(r, Event)]
