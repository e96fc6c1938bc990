"""What every backend has to do, asked of each through its own reader, with the pump that delivers for real."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from custom_backend import install
from items import T0_NS, Run, metrics, png
from mlflow_database import place_database
from otlp_receiver import shared
from wandb_reader import OfflineRun, offline_files

from ranklog.backends.registry import create_backend
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursor, save_cursor
from ranklog.model.record import EVERY_BACKEND, Coverage, Event, Metrics, Params, Status
from ranklog.model.spec import BackendSpec, Scalar

Series = list[tuple[int, float]]


class Case:
    """One backend with a run, and how to see what it stored."""

    def __init__(self, name: str, savedir: Path, folder: Path) -> None:
        self.name = name
        self.savedir = savedir
        self.console = io.StringIO()
        options: dict[str, Scalar] = {"savedir": str(self.savedir), **OPTIONS.get(name, {})}
        self.run_id = folder.name
        self.run = Run(folder / "runs" / self.run_id, BackendSpec(backend=name, options=options), self.run_id)
        self.known: dict[str, str] = {}

    def deliver(self, status: Status | None) -> None:
        """Deliver what the journal has; with a status, close the run."""
        pump = Pump(self.run.dir, console=self.console)
        try:
            for feed in pump.run(Finish(status)):
                assert feed.cursor.error is None
                self.known = dict(feed.cursor.known)
        finally:
            pump.close()

    def forget(self, ordinal: int) -> None:
        """As after a crash: the backend stored more than the cursor says."""
        cursor = load_cursor(self.run.dir, 0, self.name)
        assert cursor.next_ordinal > ordinal
        cursor.next_ordinal, cursor.status = ordinal, None
        save_cursor(self.run.dir, 0, cursor)

    def read(self, metric: str) -> Series:
        return READ[self.name](self, metric)

    def holds(self, content: bytes) -> bool:
        """Whether the content lies somewhere in the backend's own store."""
        if self.name == "memory":
            return any(file.data == content for record in self.memory() for file in getattr(record, "files", ()))
        return any(path.read_bytes() == content for path in self.savedir.rglob("*") if path.is_file())

    def memory(self) -> list[object]:
        from ranklog.testing import MemoryBackend

        return [record for _, record in sorted(MemoryBackend.runs[self.run_id].items())]

    def offline_run(self) -> OfflineRun:
        (path,) = offline_files(self.savedir)
        return OfflineRun(path)


OPTIONS: dict[str, dict[str, Scalar]] = {
    "mlflow": {
        "experiment_name": "exp",
        "tracking_uri": None,
        "run_description": None,
        "run_name": None,
        "run_id": None,
        "parent_run_id": None,
    },
    "wandb": {"project_name": "exp", "offline_mode": True},
    "tensorboard": {"framework": "pytorch"},
    "trackio": {"project_name": "exp"},
    "opentelemetry": {"endpoint": shared().endpoint},
}


def _console(case: Case, metric: str) -> Series:
    # A terminal cannot take lines back: after a crash those of the last batch may stand there twice.
    lines = dict.fromkeys(case.console.getvalue().splitlines())
    found = [re.search(rf"step (\d+) .*\b{metric} (\S+)", line) for line in lines]
    return [(int(match[1]), float(match[2])) for match in found if match]


def _mlflow(case: Case, metric: str) -> Series:
    from mlflow import MlflowClient

    client = MlflowClient(case.known["tracking_uri"])
    history = client.get_metric_history(case.known["run_id"], metric)
    return sorted((each.step, each.value) for each in history)


def _tensorboard(case: Case, metric: str) -> Series:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(case.savedir / case.run_id))
    accumulator.Reload()
    return [(each.step, each.value) for each in accumulator.Scalars(metric)]


def _wandb(case: Case, metric: str) -> Series:
    return [(int(step), value) for step, value in case.offline_run().rows(metric)]


def _memory(case: Case, metric: str) -> Series:
    records = [record for record in case.memory() if isinstance(record, Metrics)]
    return [(record.step, record.values[metric]) for record in records if metric in record.values]


def _csv(case: Case, metric: str) -> Series:
    import pandas as pd

    rows = pd.read_csv(case.savedir / case.run_id / "metrics.csv")
    return [(int(step), value) for step, value in rows[rows["name"] == metric][["step", "value"]].to_numpy()]


def _opentelemetry(case: Case, metric: str) -> Series:
    steps = {time_ns: int(step) for _, time_ns, step in shared().series(case.run_id, "ranklog.step")}
    return [(steps[time_ns], value) for _, time_ns, value in shared().series(case.run_id, metric)]


def _trackio(case: Case, metric: str) -> Series:
    from trackio_reader import TrackioRun

    return TrackioRun(case.savedir, "exp", case.run_id).values(metric)


def _jsonl(case: Case, metric: str) -> Series:
    lines = [json.loads(line) for line in next(case.savedir.glob("*.jsonl")).read_text().splitlines()]
    return [
        (line["step"], line["values"][metric]) for line in lines if metric in line.get("values", ()) and "step" in line
    ]


READ: dict[str, Callable[[Case, str], Series]] = {
    "console": _console,
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "csv": _csv,
    "opentelemetry": _opentelemetry,
    "trackio": _trackio,
    "memory": _memory,
    "jsonl": _jsonl,
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One embedded database for all runs of MLflow."""
    return place_database(tmp_path_factory.mktemp("mlflow") / "mlflow.db").parent


@pytest.fixture(params=READ)
def case(request: pytest.FixtureRequest, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    for folder in install(tmp_path / "site"):
        monkeypatch.syspath_prepend(str(folder))
    savedir = database if request.param == "mlflow" else tmp_path / request.param
    return Case(request.param, savedir, tmp_path)


def test_it_has_the_three_methods_and_is_found_by_name(case: Case) -> None:
    backend = create_backend(case.name)
    known = backend.open(context=case.run.context())
    assert known["run_id"] and all(isinstance(value, str) for value in known.values())
    backend.deliver(entries=())
    backend.close(status=None, timeout_s=120.0)


def test_metrics_of_any_order_of_steps_arrive(case: Case) -> None:
    case.run.add(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.5, "optimizer.name": "adam", "none": None, "flag": True}),
        metrics(0, {"loss": 4.0}, coverage=Coverage(2, 2, 2)),
        metrics(7, {"loss": 2.0}, coverage=Coverage(1, 2, 1)),
        metrics(3, {"loss": 1.0, "lr": 0.25}),
        Event("warning", "low-coverage", "rank 1 is silent", T0_NS, rank=1, step=7),
    )
    case.deliver("FINISHED")
    assert sorted(case.read("loss")) == [(0, 4.0), (3, 1.0), (7, 2.0)]
    assert case.read("lr") == [(3, 0.25)]
    assert load_cursor(case.run.dir, 0, case.name).status == "FINISHED"


def test_what_it_has_no_form_for_is_kept_as_files(case: Case) -> None:
    run = case.run
    big = os.urandom(40_000) if case.name != "memory" else os.urandom(100)
    run.add(
        run.file("data/out.csv", b"a,b\n1,2\n"),
        run.folder("folder", {"x.txt": b"in a folder", "sub/y.bin": big}),
        run.torch("weights", b"PK-tensors"),
        run.folder("net", {"state_dict.pt": b"PK-state"}, kind="model"),
        run.item("kind-of-a-later-version", "sound", "audio/wav", [("sound.wav", b"RIFF-sound")]),
    )
    case.deliver("FINISHED")
    for content in (b"a,b\n1,2\n", b"in a folder", big, b"PK-tensors", b"PK-state", b"RIFF-sound"):
        assert case.holds(content), content[:20]


def test_every_kind_of_item_is_accepted_with_names_that_need_care(case: Case) -> None:
    run = case.run
    for step, name in enumerate(("plain", "a/b c", "../up", "/abs", "ünï=[0]@%", "x" * 300)):
        safe = name.lstrip("./")[:100]  # what capture makes of a name for its file
        items = (
            run.text(safe, "hello", step=step),
            run.dict(safe, {"a": [1, None]}, step=step),
            run.table(safe, ["a", "b"], [[1, "x"], [None, 2.5]], step=step),
            run.histogram(safe, [0.0, 1.0, 2.0], [3, 4], step=step),
            run.image(safe, png(), caption="caption", step=step),
            run.figure(safe, png(), step=step),
            run.plotly(safe, {"data": [], "layout": {}}, step=step),
        )
        run.add(*(msgspec.structs.replace(item, name=f"{name}.{item.kind}") for item in items))
        run.add(metrics(step, {name: 1.0}))
    run.add(metrics(9, {"last": 1.0}))
    case.deliver("FINISHED")
    assert not load_cursor(run.dir, 0, case.name).refused
    assert case.read("last") == [(9, 1.0)]


def test_what_comes_again_after_a_crash_is_there_once(case: Case) -> None:
    case.run.add(
        *(metrics(step, {"loss": float(step)}) for step in range(5)),
        case.run.text("note", "hello", step=4),
    )
    case.deliver(None)
    case.forget(2)
    case.run.add(metrics(5, {"loss": 5.0}))
    case.deliver("FINISHED")
    assert case.read("loss") == [(step, float(step)) for step in range(6)]


def test_a_run_that_was_closed_can_be_gone_on_with(case: Case) -> None:
    case.run.add(metrics(0, {"loss": 1.0}))
    case.deliver("FAILED")
    case.run.add(msgspec.structs.replace(case.run.attempt, attempt=1), metrics(1, {"loss": 0.5}))
    case.deliver("FINISHED")
    assert case.read("loss") == [(0, 1.0), (1, 0.5)]
    assert load_cursor(case.run.dir, 0, case.name).status == "FINISHED"
