"""W&B online: its unmodified client against a stand-in for its API, over real sockets on the loopback interface."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import wandb
from items import T0_NS, Run, metrics, png
from test_wandb import children, make_run, service_pid
from wandb_server import KEY, Api, serve_client

from ranklog.abc import Refused
from ranklog.backends.wandb.backend import WandbBackend
from ranklog.model.record import EVERY_BACKEND, Attempt, Coverage, MetricInfo, Params
from ranklog.model.spec import BackendSpec

pytestmark = pytest.mark.slow


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serve_client(tmp_path / "home") as api:
        yield api
        api.answers.set()
        api.refuse = 0
        if children():  # left by a test that failed, and in the way of the next one
            wandb.teardown(exit_code=1)


def deliver(run: Run, status: str | None, *, start: int = 0, attempt: int = 0, known: dict[str, str]) -> dict[str, str]:
    backend = WandbBackend()
    answer = backend.open(context=run.context(known=known, resumed_at=start, attempt=attempt))
    start = int(answer.get("redeliver_from", start))
    backend.deliver(entries=run.entries[start:])
    backend.close(status=status, timeout_s=60.0)
    return answer


def test_a_run_arrives_whole_with_media_artifacts_alert_settings_and_its_end(api: Api, tmp_path: Path) -> None:
    options = {
        "savedir": str(tmp_path / "wandb"),
        "project_name": "digits",
        "offline_mode": False,
        "run_name": "night",
        "group": "sweep",
        "job_type": "train",
        "notes": "what it is",
        "tags": "a,b",
    }
    run = Run(tmp_path / "runs" / "run-1", BackendSpec(backend="wandb", options=options), "run-1")
    folder = tmp_path / "ckpt"
    folder.mkdir()
    (folder / "shard").write_bytes(b"1")
    run.add(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.5}),
        MetricInfo(T0_NS, EVERY_BACKEND, "loss", "min"),
        MetricInfo(T0_NS, EVERY_BACKEND, "acc.top1", "max"),
        *(
            metrics(step, {"loss": 3.0 - step if step < 2 else 2.5, "acc.top1": best}, coverage=Coverage(2, 2, 2))
            for step, best in enumerate((0.1, 0.4, 0.2, 0.3))
        ),
        run.images("pair", [png(2, 2), png(3, 3)], captions=["left", "right"], step=3),
        run.audio("tone", [0, 1, 2], step=3),
        run.histogram("gradients/net.0.weight", [0.0, 1.0, 2.0], [3, 4], step=3),
        run.file("out.csv", b"a,b"),
        run.reference("ckpt", folder),
        run.dataset("train"),
        run.alert("diverged", "loss is high", level="error"),
    )
    known = deliver(run, "FINISHED", known={})
    bucket = api.buckets["run-1"]
    assert [row["loss"] for row in bucket.rows() if "loss" in row] == [3.0, 2.0, 2.5, 2.5]
    assert [row["step"] for row in bucket.rows() if "loss" in row] == [0, 1, 2, 3]
    summary = json.loads(bucket.summary)
    assert summary["loss"] == {"min": 2.0, "last": 2.5} and summary["acc.top1"] == {"max": 0.4, "last": 0.3}
    assert summary["ranklog/status"] == "FINISHED"
    (pair,) = [row["pair"] for row in bucket.rows() if "pair" in row]
    assert (pair["_type"], pair["captions"], pair["count"]) == ("images/separated", ["left", "right"], 2)
    (gradients,) = [row["gradients/net.0.weight"] for row in bucket.rows() if "gradients/net.0.weight" in row]
    assert gradients == {"_type": "histogram", "values": [3, 4], "bins": [0.0, 1.0, 2.0]}
    assert any(name.startswith("run-1/media/audio/tone") for name in api.uploads)
    assert json.loads(bucket.config)["lr"]["value"] == 0.5
    told = {name: bucket.variables.get(name) for name in ("displayName", "groupName", "jobType", "notes", "tags")}
    assert told == {
        "displayName": "night",
        "groupName": "sweep",
        "jobType": "train",
        "notes": "what it is",
        "tags": ["a", "b"],
    }
    assert [(alert["title"], alert["text"]) for alert in api.alerts] == [("diverged", "loss is high")]
    assert all(artifact["committed"] for artifact in api.artifacts)
    types = {artifact.get("artifactTypeName") for artifact in api.artifacts}
    assert {"artifact", "model", "dataset"} <= types
    assert [each["artifactTypeName"] for each in api.artifacts if each.get("used_by") == "run-1"] == ["dataset"]
    assert any(folder.as_uri().encode() in body for name, body in api.uploads.items() if name.startswith("manifest/"))
    assert (bucket.complete, bucket.exitcode) == (True, 0)
    assert api.authorized == {f"api:{KEY}"} and children() == set()
    assert known["url"].startswith(os.environ["WANDB_BASE_URL"])
    kept = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert kept and not any(KEY.encode() in path.read_bytes() for path in kept)


def test_a_requeued_job_goes_on_with_its_run_and_no_row_is_lost_or_twice(api: Api, tmp_path: Path) -> None:
    run = make_run(tmp_path, offline=False)
    run.add(*(metrics(step, {"loss": float(step)}) for step in range(5)), run.alert("slow", "rank 3"))
    known = deliver(run, None, known={})
    before = api.buckets["run-1"].rows()
    assert len([row for row in before if "loss" in row]) == 5
    second = msgspec.structs.replace(run.attempt, attempt=1)
    assert isinstance(second, Attempt)
    start = len(run.entries)
    run.add(second, *(metrics(step, {"loss": 10.0 + step}) for step in (3, 4, 5)))
    deliver(run, "FINISHED", start=start, attempt=1, known=known)
    rows = api.buckets["run-1"].rows()
    values = [(row["step"], row["loss"], row.get("ranklog/attempt")) for row in rows if "loss" in row]
    assert values == [*((step, float(step), None) for step in range(5)), (3, 13.0, 1), (4, 14.0, 1), (5, 15.0, 1)]
    assert len({row["_step"] for row in rows}) == len(rows)
    assert [alert["title"] for alert in api.alerts] == ["slow"]
    assert api.buckets["run-1"].exitcode == 0


def test_one_nan_does_not_spoil_the_best_value_which_a_requeued_job_goes_on_with(api: Api, tmp_path: Path) -> None:
    run = make_run(tmp_path, offline=False)
    run.add(MetricInfo(T0_NS, EVERY_BACKEND, "loss", "min"), MetricInfo(T0_NS, EVERY_BACKEND, "acc.top1", "max"))
    run.add(
        *(metrics(step, {"loss": value, "acc.top1": -value}) for step, value in enumerate((3.0, math.nan, 1.0, 2.0)))
    )
    known = deliver(run, None, known={})
    summary = json.loads(api.buckets["run-1"].summary)
    assert summary["loss"] == {"min": 1.0, "last": 2.0} and summary["acc.top1"] == {"max": -1.0, "last": -2.0}
    start = len(run.entries)
    # It goes back: the best so far was undone.
    run.add(msgspec.structs.replace(run.attempt, attempt=1), metrics(2, {"loss": 1.5}), metrics(3, {"loss": math.nan}))
    deliver(run, "FINISHED", start=start, attempt=1, known=known)
    summary = json.loads(api.buckets["run-1"].summary)
    assert summary["loss"] == {"min": 1.5, "last": "NaN"} and summary["acc.top1"] == {"max": -1.0, "last": -2.0}


def test_an_artifact_whose_name_has_another_type_on_the_server_is_refused_and_the_rest_goes_on(
    api: Api, tmp_path: Path
) -> None:
    api.artifacts.append({"artifactCollectionName": "net", "artifactTypeName": "model"})
    run = make_run(tmp_path, offline=False)
    run.add(run.file("net", b"a"), metrics(0, {"loss": 1.0}))
    backend = WandbBackend()
    backend.open(context=run.context())
    service = Path("/proc") / str(service_pid())
    assert KEY.encode() not in (service / "cmdline").read_bytes()
    with pytest.raises(Refused, match="already exists with type 'model'") as refused:
        backend.deliver(entries=run.entries)
    left = [entry for entry in run.entries if entry.ordinal not in refused.value.ordinals]
    backend.deliver(entries=left)
    backend.close(status="FINISHED", timeout_s=60.0)
    assert [each["artifactTypeName"] for each in api.artifacts] == ["model"]
    assert [row["loss"] for row in api.buckets["run-1"].rows() if "loss" in row] == [1.0]


def test_a_server_that_refuses_for_a_while_gets_everything_in_the_end(api: Api, tmp_path: Path) -> None:
    run = make_run(tmp_path, offline=False)
    run.add(*(metrics(step, {"loss": float(step)}) for step in range(3)))
    api.refuse = 3
    deliver(run, "FINISHED", known={})
    assert [row["loss"] for row in api.buckets["run-1"].rows() if "loss" in row] == [0.0, 1.0, 2.0]


def test_a_server_that_hangs_costs_no_more_than_the_time_limit_and_gets_everything_once_later(
    api: Api, tmp_path: Path
) -> None:
    run = make_run(tmp_path, offline=False)
    run.add(*(metrics(step, {"loss": float(step)}) for step in range(3)), run.text("note", "hello"))
    backend = WandbBackend()
    known = backend.open(context=run.context())
    api.answers.clear()
    backend.deliver(entries=run.entries)
    with pytest.raises(TimeoutError, match=r"did not finish within 1 s"):
        backend.close(status="FINISHED", timeout_s=1.0)
    assert children() == set()
    api.answers.set()
    deliver(run, "FINISHED", start=len(run.entries), known=known)
    assert [row["loss"] for row in api.buckets["run-1"].rows() if "loss" in row] == [0.0, 1.0, 2.0]
    assert len([row for row in api.buckets["run-1"].rows() if "note" in row]) == 1
    assert api.buckets["run-1"].exitcode == 0


def test_an_offline_run_is_taken_by_w_and_bs_own_sync(api: Api, tmp_path: Path) -> None:
    import subprocess
    import sys

    run = make_run(tmp_path, offline=True)
    run.add(*(metrics(step, {"loss": float(step)}) for step in range(3)))
    run.add(run.text("note", "hello"), run.dataset("train"))
    known = deliver(run, "FINISHED", known={})
    command = [sys.executable, "-m", "wandb", "sync", known["directory"]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    bucket = api.buckets["run-1"]
    assert [row["loss"] for row in bucket.rows() if "loss" in row] == [0.0, 1.0, 2.0]
    assert any("media/html/note" in name for name in api.uploads)
    assert [each["artifactTypeName"] for each in api.artifacts if each.get("used_by") == "run-1"] == ["dataset"]
