"""Offline runs of several attempts, taken by W&B's own `wandb sync` in between, as its server then has them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("wandb")

from items import T0_NS, Run, metrics
from test_wandb import children, make_run
from test_wandb_online import deliver
from wandb_reader import OfflineRun, offline_files
from wandb_server import Api, serve_client

from ranklog import WandBLogger
from ranklog.backends.wandb.backend import WandbBackend
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursors
from ranklog.model.record import EVERY_BACKEND, Coverage, MetricInfo, Params

pytestmark = pytest.mark.slow


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serve_client(tmp_path / "home") as api:
        yield api


def directories(folder: Path) -> list[Path]:
    return sorted((folder / "wandb" / "wandb").glob("offline-run-*"))


def wandb_sync(folder: Path) -> str:
    """`wandb sync mllogs/wandb/wandb/offline-run-*`, as the README has it; what it says."""
    command = [sys.executable, "-m", "wandb", "sync", *map(str, directories(folder))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stderr


def steps_at_server(api: Api, run_id: str = "run-1") -> list[int]:
    return [row["step"] for row in api.buckets[run_id].rows() if "loss" in row]


def requeue(run: Run) -> int:
    """Another attempt begins; its first entry."""
    attempts = sum(hasattr(entry.record, "place") for entry in run.entries)
    run.add(msgspec.structs.replace(run.attempt, attempt=attempts))
    return len(run.entries) - 1


def test_each_row_is_there_once_however_often_attempts_are_synced_in_between(api: Api, tmp_path: Path) -> None:
    for number in range(3):
        logger = WandBLogger(tmp_path, project_name="p", offline_mode=True, forward="later", run_id="again")
        with logger.start_logging():
            if number == 0:
                logger.log(0.1, "lr", kind="param")
            for step in range(10 * number, 10 * number + 10):
                logger.log(float(step), "loss", step=step)
            run_dir = logger.run_dir
        for _ in range(2):
            pump = Pump(run_dir, console=io.StringIO())
            assert [feed.cursor.error for feed in pump.run(Finish())][-1] is None
            pump.close()
        wandb_sync(tmp_path)
    assert steps_at_server(api, "again") == list(range(30))
    assert len({row["_step"] for row in api.buckets["again"].rows()}) == len(api.buckets["again"].rows())
    assert len(directories(tmp_path)) == 3
    assert [cursor.known.get("warning") for _, cursor in load_cursors(run_dir)] == [None]
    assert json.loads(api.buckets["again"].config)["lr"]["value"] == 0.1
    assert children() == set()


def test_what_comes_after_a_sync_knows_the_best_value_the_coverage_and_the_parameters_of_before(
    api: Api, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    run.add(MetricInfo(T0_NS, EVERY_BACKEND, "loss", "min"), Params(T0_NS, EVERY_BACKEND, {"optim.lr": 0.1}))
    run.add(metrics(0, {"loss": 1.0}, coverage=Coverage(1, 2, 1)), metrics(1, {"loss": 3.0}), run.alert("slow", "x"))
    known = deliver(run, None, known={})
    wandb_sync(tmp_path)
    start = requeue(run)
    run.add(metrics(2, {"loss": 2.0}, coverage=Coverage(2, 2, 2)), Params(T0_NS, EVERY_BACKEND, {"optim.name": "adam"}))
    deliver(run, "FINISHED", start=start, known=known)
    wandb_sync(tmp_path)
    bucket = api.buckets["run-1"]
    summary = json.loads(bucket.summary)
    assert steps_at_server(api) == [0, 1, 2]
    assert summary["loss"] == {"min": 1.0, "last": 2.0} and summary["ranklog/status"] == "FINISHED"
    assert summary["ranklog/coverage"].startswith("1")
    assert json.loads(bucket.config)["optim"]["value"] == {"lr": 0.1, "name": "adam"}
    assert [alert["title"] for alert in api.alerts] == ["slow"]


def test_only_what_was_not_synced_is_written_anew(tmp_path: Path, api: Api) -> None:
    run = make_run(tmp_path)
    run.add(metrics(0, {"loss": 0.0}))
    known = deliver(run, None, known={})
    wandb_sync(tmp_path)
    (first,) = directories(tmp_path)
    for step in (1, 2):
        start = requeue(run)
        run.add(metrics(step, {"loss": float(step)}))
        known = deliver(run, "FINISHED", start=start, known=known)
    kept, new = offline_files(tmp_path / "wandb")
    assert kept.parent == first
    assert [OfflineRun(path).rows("loss") for path in (kept, new)] == [[(0, 0.0)], [(1, 1.0), (2, 2.0)]]
    wandb_sync(tmp_path)
    assert steps_at_server(api) == [0, 1, 2]


@pytest.mark.parametrize("resumed_at", [0, 2, 4])
def test_a_crash_before_the_cursor_was_saved_makes_no_row_of_a_synced_directory_come_twice(
    api: Api, tmp_path: Path, resumed_at: int
) -> None:
    run = make_run(tmp_path)
    run.add(*(metrics(step, {"loss": float(step)}) for step in range(3)))
    known = deliver(run, "FINISHED", known={})
    wandb_sync(tmp_path)
    backend = WandbBackend()
    backend.open(context=run.context(known=known, resumed_at=resumed_at))
    run.add(metrics(3, {"loss": 3.0}))
    backend.deliver(entries=run.entries[resumed_at:])
    backend.close(status="FINISHED", timeout_s=60.0)
    wandb_sync(tmp_path)
    assert steps_at_server(api) == [0, 1, 2, 3]


def test_a_directory_that_is_being_written_is_not_taken(api: Api, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    backend = WandbBackend()
    backend.open(context=run.context())
    backend.deliver(entries=run.entries)
    backend.deliver(entries=run.add(metrics(0, {"loss": 0.0}), run.file("out.csv", b"a,b")))
    assert "No runs to sync" in wandb_sync(tmp_path)
    backend.deliver(entries=run.add(metrics(1, {"loss": 1.0}), run.text("note", "hello")))
    backend.close(status="FINISHED", timeout_s=60.0)
    wandb_sync(tmp_path)
    assert steps_at_server(api) == [0, 1]
    assert [artifact["committed"] for artifact in api.artifacts] == [True]
    assert any("media/html/note" in name for name in api.uploads)


def test_a_sync_that_did_not_end_is_told_of_and_nothing_of_its_directory_is_written_again(
    api: Api, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    run.add(metrics(0, {"loss": 0.0}))
    known = deliver(run, None, known={})
    wandb_sync(tmp_path)
    (first,) = directories(tmp_path)
    (first / "run-run-1.wandb.synced").unlink()
    start = requeue(run)
    run.add(metrics(1, {"loss": 1.0}))
    known = deliver(run, "FINISHED", start=start, known=known)
    said = f"a `wandb sync` of {first} began and did not finish. W&B may have some of its rows"
    assert said in known["warning"]
    _, new = offline_files(tmp_path / "wandb")
    assert OfflineRun(new).rows("loss") == [(1, 1.0)]
    assert said in OfflineRun(new).logs[0]


def test_a_directory_that_is_gone_is_written_anew_with_a_warning(tmp_path: Path) -> None:
    import shutil

    run = make_run(tmp_path)
    run.add(metrics(0, {"loss": 0.0}))
    known = deliver(run, None, known={})
    shutil.rmtree(known["directory"])
    start = requeue(run)
    run.add(metrics(1, {"loss": 1.0}))
    gone = known["directory"]
    known = deliver(run, None, start=start, known=known)
    assert known["warning"].startswith(f"{gone} is missing and is written again")
    (path,) = offline_files(tmp_path / "wandb")
    assert OfflineRun(path).rows("loss") == [(0, 0.0), (1, 1.0)]
    assert deliver(run, "FINISHED", start=len(run.entries), known=known)["warning"] == ""
