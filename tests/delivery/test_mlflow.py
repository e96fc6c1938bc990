from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from mlflow_database import place_database

pytest.importorskip("mlflow")
pytest.importorskip("torch")

import mlflow
import mlflow.pytorch
import torch
from items import T0_NS, Run, metrics, png
from mlflow import MlflowClient
from mlflow.entities import Metric

from ranklog import MLFlowLogger
from ranklog.abc import Refused
from ranklog.backends.mlflow.backend import MlflowBackend
from ranklog.backends.mlflow.trouble import MlflowUnavailableError
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.facts import Git, JobFacts
from ranklog.model.record import EVERY_BACKEND, Attempt, Coverage, Event, Metrics, Params
from ranklog.model.spec import BackendSpec, Scalar


@pytest.fixture(scope="module")
def savedir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One embedded database for the module."""
    return place_database(tmp_path_factory.mktemp("mllogs") / "mlflow" / "mlflow.db").parent


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


class Opened:
    """A run whose journal is delivered to MLflow, and MLflow's own client to look at it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.backend = MlflowBackend()
        self.known = self.backend.open(context=run.context())
        self.client = MlflowClient(self.known["tracking_uri"])
        self.id = self.known["run_id"]
        self.backend.deliver(entries=run.entries)

    def log(self, *records: object) -> None:
        self.backend.deliver(entries=self.run.add(*records))  # type: ignore[arg-type]

    def reopen(self, *, resumed_at: int, attempt: int = 0) -> None:
        self.backend = MlflowBackend()
        context = self.run.context(known=self.known, resumed_at=resumed_at, attempt=attempt)
        assert self.backend.open(context=context) == self.known

    def tags(self) -> dict[str, str]:
        return dict(self.client.get_run(self.id).data.tags)

    def artifacts(self, path: str | None = None) -> list[str]:
        found: list[str] = []
        for each in self.client.list_artifacts(self.id, path):
            found += self.artifacts(each.path) if each.is_dir else [each.path]
        return sorted(found)

    def read(self, path: str) -> bytes:
        return Path(self.client.download_artifacts(self.id, path)).read_bytes()

    def history(self, key: str) -> list[tuple[int, int, float]]:
        return sorted((m.step, m.timestamp, m.value) for m in self.client.get_metric_history(self.id, key))


def make_run(tmp_path: Path, savedir: Path, name: str = "", **options: Scalar) -> Run:
    every: dict[str, Scalar] = {"savedir": str(savedir), "experiment_name": "exp", **options}
    name = name or tmp_path.name
    return Run(tmp_path / "runs" / name, BackendSpec(backend="mlflow", options=every), name)


@pytest.fixture
def opened(tmp_path: Path, savedir: Path) -> Opened:
    return Opened(make_run(tmp_path, savedir, run_name="night run", run_description="what it is"))


def test_a_run_carries_its_name_description_source_and_start(opened: Opened) -> None:
    run = opened.client.get_run(opened.id)
    assert run.info.run_name == "night run"
    assert run.info.status == "RUNNING"
    assert run.info.start_time == T0_NS // 10**6
    assert run.data.tags["mlflow.note.content"] == "what it is"
    assert run.data.tags["mlflow.source.name"] == "jobs/train.py"
    assert run.data.tags["ranklog.command"] == "python -u jobs/train.py --lr 0.1"
    assert opened.client.get_experiment_by_name("exp").experiment_id == opened.known["experiment_id"]


@pytest.fixture
def users_mlflow(opened: Opened) -> Iterator[ModuleType]:
    """MLflow's global interface, as a user points it at the run."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(opened.known["tracking_uri"])
    yield mlflow
    mlflow.set_tracking_uri(before)


def test_the_embedded_store_is_private_and_all_below_savedir(opened: Opened, savedir: Path) -> None:
    opened.log(opened.run.text("note", "hello"))
    assert opened.known["tracking_uri"] == f"sqlite:///{savedir}/mlflow.db"
    assert (savedir.stat().st_mode & 0o777, (savedir / "mlflow.db").stat().st_mode & 0o777) == (0o700, 0o600)
    stored = list((savedir / "artifacts").rglob("note.txt"))
    assert stored
    assert all(path.stat().st_mode & 0o077 == 0 for path in stored)
    assert {path.name for path in Path.cwd().iterdir()} == {"runs"}


def test_metrics_replayed_show_once_with_the_journals_time(opened: Opened) -> None:
    opened.log(*(metrics(step, {"loss": 1.0 / (step + 1), "acc": math.nan}) for step in range(5)))
    opened.backend.deliver(entries=opened.run.entries)
    opened.reopen(resumed_at=2)
    opened.backend.deliver(entries=opened.run.entries[2:])
    assert opened.history("loss") == [(s, T0_NS // 10**6 + s * 1000, pytest.approx(1 / (s + 1))) for s in range(5)]
    assert len(opened.history("acc")) == 5
    assert all(math.isnan(value) for _, _, value in opened.history("acc"))


def test_more_metrics_than_a_request_takes_all_arrive(opened: Opened) -> None:
    opened.log(*(metrics(step, {f"m{i}": float(i) for i in range(10)}) for step in range(250)))
    assert len(opened.history("m0")) == len(opened.history("m9")) == 250


def test_names_that_mlflow_refuses_are_escaped_and_long_ones_kept_in_a_tag(opened: Opened) -> None:
    long = "layer/" * 80 + "loss"
    opened.log(metrics(0, {"loss[0]": 1.0, "a=b": 2.0, "x@y": 3.0, "../z": 4.0, "ü:é": 5.0, long: 6.0}))
    found = opened.client.get_run(opened.id).data.metrics
    assert found.pop("loss_x005B_0_x005D_") == 1.0
    assert found.pop("a_x003D_b") == 2.0
    assert found.pop("x_x0040_y") == 3.0
    assert found.pop("_x002E__x002E_/z") == 4.0
    assert found.pop("ü:é") == 5.0
    [(key, value)] = found.items()
    assert value == 6.0
    assert opened.tags()[f"ranklog.name.{key.rpartition('_')[2]}"] == long


def test_an_infinite_metric_is_stored_and_marked(opened: Opened) -> None:
    entries = opened.run.add(metrics(3, {"grad[0]": math.inf, "low": -math.inf, "fine": 1.0}))
    for _ in range(2):
        opened.backend.deliver(entries=entries)
    tags = opened.tags()
    assert tags["ranklog.infinite.grad_x005B_0_x005D_"] == "+inf at step 3"
    assert tags["ranklog.infinite.low"] == "-inf at step 3"
    assert "ranklog.infinite.fine" not in tags
    assert len(opened.history("low")) == 1


def test_coverage_below_full_is_tagged_until_it_is_corrected(opened: Opened) -> None:
    opened.log(metrics(0, {"loss": 1.0}, coverage=Coverage(2, 2, 2)))
    assert opened.tags()["ranklog.coverage"] == "2/2"
    opened.log(metrics(1, {"loss": 1.0}, coverage=Coverage(1, 2, 1)))
    assert opened.tags()["ranklog.coverage"] == "1 of 2 ranks had a value, 1 answered"
    assert opened.tags()["ranklog.coverage.partial_steps"] == "1"
    opened.reopen(resumed_at=len(opened.run.entries))
    opened.log(metrics(1, {"loss": 0.5}, coverage=Coverage(2, 2, 2), corrects=True))
    assert opened.tags()["ranklog.coverage"] == "2/2"
    assert opened.tags()["ranklog.coverage.partial_steps"] == "0"
    assert opened.client.get_run(opened.id).data.metrics["loss"] == 0.5


def test_parameters_survive_a_change_a_resume_and_a_great_length(opened: Opened) -> None:
    many: dict[str, Scalar] = {f"p{i}": i for i in range(250)}
    long = "x" * 7000
    first = Params(T0_NS, EVERY_BACKEND, {"optim.lr": 0.1, "amp": True, "none": None, "note": long, **many})
    opened.log(first)
    opened.reopen(resumed_at=1, attempt=1)
    opened.backend.deliver(entries=opened.run.entries[1:])
    opened.log(Params(T0_NS, EVERY_BACKEND, {"optim.lr": 0.2, "amp": True}))
    params = opened.client.get_run(opened.id).data.params
    assert (params["optim.lr"], params["amp"], params["none"], params["p249"]) == (
        "0.1",
        "True",
        "None",
        "249",
    )
    assert params["note"] == long[:6000]
    assert opened.tags()["param.optim.lr.1"] == "0.2"
    assert not [tag for tag in opened.tags() if tag.startswith("param.") and "lr" not in tag]
    stored = json.loads(opened.read("params.json"))
    assert (stored["note"], stored["optim.lr"], stored["amp"]) == (long, 0.2, True)


def test_text_dict_histogram_torch_file_and_folder_lie_where_their_identifier_says(opened: Opened) -> None:
    run = opened.run
    opened.log(
        run.text("note", "héllo"),
        run.dict("config.json", {"a": [1, 2]}),
        run.histogram("weights", [0.0, 1.0, 2.0], [3, 4]),
        run.torch("state", b"tensors"),
        run.file("out.csv", b"a,b\n1,2\n"),
        run.file("logs/deep/out.bin", os.urandom(50_000)),
        run.folder("data", {"x.txt": b"x", "sub/y.txt": b"y"}),
        run.file("../../evil#1.txt", b"caught"),
    )
    opened.backend.deliver(entries=run.entries)
    assert opened.artifacts() == [
        "_x002E__x002E_/_x002E__x002E_/evil_x0023_1.txt",
        "config.json",
        "data/sub/y.txt",
        "data/x.txt",
        "logs/deep/out.bin",
        "note.txt",
        "out.csv",
        "state.pt",
        "weights.json",
    ]
    assert opened.read("note.txt").decode() == "héllo"
    assert opened.read("out.csv") == b"a,b\n1,2\n"
    assert json.loads(opened.read("weights.json"))["counts"] == [3, 4]
    assert len(opened.read("logs/deep/out.bin")) == 50_000


def test_each_step_of_a_name_is_kept_and_the_plain_path_has_the_latest(opened: Opened) -> None:
    run = opened.run
    opened.log(run.text("sample", "first", step=1))
    assert opened.artifacts() == ["sample.txt"]
    opened.reopen(resumed_at=len(run.entries))
    opened.log(run.text("sample", "second", step=2), run.text("sample", "third", step=7))
    opened.backend.deliver(entries=run.entries[-1:])
    assert opened.artifacts() == [
        "sample.txt",
        "steps/1/sample.txt",
        "steps/2/sample.txt",
        "steps/7/sample.txt",
    ]
    assert [opened.read(path) for path in opened.artifacts()] == [b"third", b"first", b"second", b"third"]


def test_items_of_several_ranks_do_not_overwrite_each_other(tmp_path: Path, savedir: Path) -> None:
    run = make_run(tmp_path, savedir)
    run.spec = BackendSpec(backend="mlflow", log_on_workers=-1, options=run.spec.options)
    opened = Opened(run)
    opened.log(run.text("note", "zero"), run.text("rank_003/note", "three", rank=3))
    assert opened.artifacts() == ["note.txt", "rank_003/note.txt"]


def test_a_table_is_loaded_by_mlflow(opened: Opened, users_mlflow: ModuleType) -> None:
    table = opened.run.table("pred", ["id", "score"], [[1, 0.5], [2, None]])
    for _ in range(2):
        opened.backend.deliver(entries=opened.run.add(table))
    users_mlflow.set_experiment("exp")
    frame = users_mlflow.load_table("pred.json", run_ids=[opened.id])
    assert list(frame.columns) == ["id", "score"]
    assert frame["score"][0] == 0.5
    assert math.isnan(frame["score"][1])
    assert json.loads(opened.tags()["mlflow.loggedArtifacts"]) == [{"path": "pred.json", "type": "table"}]


def test_a_figure_is_a_png_or_a_page_with_its_json(opened: Opened) -> None:
    plot = {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {"title": {"text": "</script>x"}}}
    opened.log(opened.run.figure("plot.png", png()), opened.run.plotly("curve", plot))
    assert opened.artifacts() == ["curve.html", "curve.json", "plot.png"]
    assert opened.read("plot.png") == png()
    assert json.loads(opened.read("curve.json"))["data"][0]["y"] == [1, 2]
    assert b"</script>x" not in opened.read("curve.html")


def test_items_of_different_kinds_may_have_one_name(opened: Opened) -> None:
    run = opened.run
    opened.log(run.dict("x", {"a": 1}, step=1), run.pr_curve("x", step=2), run.table("x", ["a"], [[1]], step=3))
    assert opened.artifacts() == [
        "steps/1/x.json",
        "steps/2/x.html",
        "steps/2/x.json",
        "steps/3/x.json",
        "x.html",
        "x.json",
    ]
    assert b"recall" in opened.read("steps/2/x.html")
    tables = [each["path"] for each in json.loads(opened.tags()["mlflow.loggedArtifacts"])]
    assert tables == ["x.json", "steps/3/x.json"]


def test_images_have_the_names_that_mlflows_image_view_reads_and_show_once(opened: Opened) -> None:
    run = opened.run
    opened.log(run.image("val/x", png(), caption="a cat", step=4), run.image("val/x", png(600, 2), step=5))
    opened.backend.deliver(entries=run.entries)
    stamp = T0_NS // 10**6
    names = [name for name in opened.artifacts("images") if name.endswith(".png")]
    assert [name.rpartition("+")[0] for name in names] == [
        f"images/val~x+step+{step}+timestamp+{stamp + step * 1000}" for step in (4, 5)
    ]
    assert [name for name in opened.artifacts("images") if name.endswith(".webp")] == [
        name.replace(".png", "+compressed.webp") for name in names
    ]
    assert opened.read(names[0]) == png()
    assert opened.tags()["mlflow.loggedImages"] == "True"
    [caption] = opened.artifacts("captions")
    assert opened.read(caption) == b"a cat"


def test_events_and_attempts_become_tags(opened: Opened) -> None:
    opened.log(Event("warning", "nan", "loss is NaN on rank 1", T0_NS, rank=1, step=3))
    opened.log(Attempt(1, opened.run.facts.run_id, 2, opened.run.attempt.place, "h", 1, T0_NS, ()))
    assert opened.tags()["ranklog.event.nan"] == "loss is NaN on rank 1"
    assert opened.tags()["ranklog.attempt"] == "2"


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_runs_status_is_that_of_the_training(opened: Opened, status: str) -> None:
    opened.backend.close(status=status, timeout_s=5)  # type: ignore[arg-type]
    assert opened.client.get_run(opened.id).info.status == status


def test_a_finished_run_that_is_opened_again_is_running_and_close_without_status_leaves_it(
    opened: Opened,
) -> None:
    opened.backend.close(status="FAILED", timeout_s=5)
    assert opened.client.get_run(opened.id).info.end_time
    opened.reopen(resumed_at=1)
    info = opened.client.get_run(opened.id).info
    assert (info.status, info.end_time) == ("RUNNING", None)
    opened.backend.close(status=None, timeout_s=5)
    assert opened.client.get_run(opened.id).info.status == "RUNNING"


def test_a_lost_cursor_does_not_send_the_metrics_again(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.log(*(metrics(step, {f"m{i}": float(step) for i in range(10)}) for step in range(250)))
    opened.reopen(resumed_at=0)
    sent: list[str] = []
    log_batch = MlflowClient.log_batch

    def watched(client: MlflowClient, run_id: str, metrics: Sequence[Metric] = (), **more: object) -> None:
        sent.extend(metric.key for metric in metrics)
        log_batch(client, run_id, metrics, **more)

    opened.run.add(metrics(250, {"m0": 1.0, "new": 1.0}))
    monkeypatch.setattr(MlflowClient, "log_batch", watched)
    opened.backend.deliver(entries=opened.run.entries)
    assert sent == ["m0", "new"]
    assert len(opened.history("m0")) == 251


def test_a_reply_that_was_lost_in_the_middle_leaves_every_metric_once(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = opened.run.add(*(metrics(step, {f"m{i}": float(step) for i in range(7)}) for step in range(300)))
    log_batch = MlflowClient.log_batch
    calls = iter(range(10))

    def unlucky(client: MlflowClient, *args: object, **more: object) -> None:
        log_batch(client, *args, **more)
        if next(calls) == 1:
            raise ConnectionError("no reply")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(MlflowClient, "log_batch", unlucky)
        opened.backend.deliver(entries=entries)
    opened.backend.deliver(entries=entries)
    assert [len(opened.history(f"m{i}")) for i in range(7)] == [300] * 7


def test_a_lost_cursor_finds_the_same_run_again(opened: Opened) -> None:
    again = MlflowBackend().open(context=opened.run.context())
    assert again == opened.known
    found = opened.client.search_runs(
        [opened.known["experiment_id"]], f"tags.`ranklog.run_id` = '{opened.run.facts.run_id}'"
    )
    assert len(found) == 1


def test_an_existing_run_is_attached_by_its_id(opened: Opened, tmp_path: Path, savedir: Path) -> None:
    run = make_run(tmp_path, savedir, "other", run_id=opened.id)
    assert MlflowBackend().open(context=run.context())["run_id"] == opened.id


def test_a_child_run_names_its_parent(opened: Opened, tmp_path: Path, savedir: Path) -> None:
    child = Opened(make_run(tmp_path, savedir, "child", parent_run_id=opened.id))
    assert child.tags()["mlflow.parentRunId"] == opened.id


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "/data/mlruns"])
def test_a_folder_as_tracking_uri_is_an_error_that_says_what_to_give(tmp_path: Path, savedir: Path, uri: str) -> None:
    run = make_run(tmp_path, savedir, tracking_uri=uri)
    with pytest.raises(InvalidArgumentError, match="sqlite:///"):
        MlflowBackend().open(context=run.context())


def test_a_deleted_run_is_an_error_that_says_how_to_restore_it(opened: Opened) -> None:
    opened.client.delete_run(opened.id)
    with pytest.raises(MlflowUnavailableError, match="mlflow runs restore"):
        MlflowBackend().open(context=opened.run.context(known=opened.known))


def test_what_mlflow_never_takes_is_refused_alone(opened: Opened) -> None:
    before_1970 = Metrics(0, -(10**18), EVERY_BACKEND, {"bad": 1.0})
    bad, good = opened.run.add(before_1970, metrics(1, {"good": 2.0}))
    with pytest.raises(Refused) as caught:
        opened.backend.deliver(entries=[bad, good])
    assert caught.value.ordinals == (bad.ordinal,)
    assert opened.history("good")
    assert not opened.history("bad")


def test_a_file_where_a_folder_is_needed_is_refused_and_the_rest_goes_on(opened: Opened) -> None:
    run = opened.run
    entries = run.add(run.file("a", b"1"), run.file("a/b", b"2"), run.file("c", b"3"))
    with pytest.raises(Refused) as caught:
        opened.backend.deliver(entries=entries)
    assert caught.value.ordinals == (entries[1].ordinal,)
    assert opened.artifacts() == ["a", "c"]


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, dict[str, bytes]]:
    """A module, and the folder that MLflow's own `save_model` writes for it."""
    folder = tmp_path_factory.mktemp("model") / "saved"
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    mlflow.pytorch.save_model(module, str(folder), pip_requirements=[], serialization_format="pickle")
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return module, files


def test_a_model_is_loaded_by_id_and_by_run_and_predicts_the_same(
    opened: Opened, users_mlflow: ModuleType, saved_model: tuple[torch.nn.Module, dict[str, bytes]]
) -> None:
    module, files = saved_model
    opened.log(opened.run.folder("net", files, kind="model", step=5))
    opened.reopen(resumed_at=1)
    opened.backend.deliver(entries=opened.run.entries[1:])
    models = [
        each
        for each in opened.client.search_logged_models([opened.known["experiment_id"]])
        if each.source_run_id == opened.id
    ]
    assert [(each.name, each.status.name) for each in models] == [("net", "READY")]
    outputs = opened.client.get_run(opened.id).outputs.model_outputs
    assert [(each.model_id, each.step) for each in outputs] == [(models[0].model_id, 5)]
    x = torch.ones(2, 3)
    for uri in (f"models:/{models[0].model_id}", f"runs:/{opened.id}/net"):
        assert torch.equal(users_mlflow.pytorch.load_model(uri)(x), module(x))


def test_an_upload_of_a_model_that_was_cut_off_is_finished(
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
    saved_model: tuple[torch.nn.Module, dict[str, bytes]],
) -> None:
    item = opened.run.folder("nets/best.pth", saved_model[1], kind="best_model")
    [entry] = opened.run.add(item)
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(MlflowClient, "finalize_logged_model", _no_connection)
        opened.backend.deliver(entries=[entry])
    opened.backend.deliver(entries=[entry])
    model = opened.client.get_logged_model(opened.tags()["ranklog.best_model"])
    assert (model.name, model.status.name) == ("nets_x002F_best_x002E_pth", "READY")
    assert len(opened.client.get_run(opened.id).outputs.model_outputs) == 1


def _no_connection(*_: object, **__: object) -> None:
    raise ConnectionError


@pytest.mark.slow
def test_a_server_receives_all_kinds_once(
    mlflow_port: int, tmp_path: Path, saved_model: tuple[torch.nn.Module, dict[str, bytes]]
) -> None:
    server = f"http://127.0.0.1:{mlflow_port}"
    own = {"tracking_uri": server, "experiment_name": "remote"}
    opened = Opened(make_run(tmp_path, tmp_path / "unused", "remote", **own))
    run = opened.run
    assert opened.known["url"] == f"{server}/#/experiments/{opened.known['experiment_id']}/runs/{opened.id}"
    opened.log(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.1, "long": "x" * 7000}),
        *(metrics(step, {f"m{i}": float(step) for i in range(30)} | {"inf": math.inf}) for step in range(100)),
        run.text("note", "hello"),
        run.file("odd #%41[1]?.txt", b"odd"),
        run.file("../up.bin", os.urandom(100_000)),
        run.image("val/x", png(), step=2),
        run.figure("plot.png", png()),
        run.table("pred", ["a"], [[1]]),
        msgspec.structs.replace(
            run.folder("net", saved_model[1], kind="best_model"),
            meta={"registered_model_name": "net", "alias": "champion"},
        ),
        run.dataset("train"),
    )
    opened.backend = MlflowBackend()
    opened.backend.open(context=run.context())
    opened.backend.deliver(entries=run.entries)
    opened.backend.close(status="FINISHED", timeout_s=120)
    assert opened.client.get_run(opened.id).info.status == "FINISHED"
    opened.reopen(resumed_at=len(run.entries))
    info = opened.client.get_run(opened.id).info
    assert (info.status, info.end_time) == ("RUNNING", None)
    assert len(opened.history("m29")) == 100
    assert len(opened.history("inf")) == 100
    assert opened.artifacts()[0] == "_x002E__x002E_/up.bin"
    assert "odd _x0023__x0025_41[1]_x003F_.txt" in opened.artifacts()
    assert opened.read("odd _x0023__x0025_41[1]_x003F_.txt") == b"odd"
    assert len(opened.artifacts("images")) == 2
    assert opened.read("plot.png") == png()
    [model] = opened.client.search_logged_models([opened.known["experiment_id"]])
    assert model.status.name == "READY"
    assert len(opened.client.search_model_versions("name = 'net'")) == 1
    champion = opened.client.get_model_version_by_alias("net", "champion")
    assert champion.source == f"models:/{model.model_id}"
    [dataset] = opened.client.get_run(opened.id).inputs.dataset_inputs
    assert dataset.dataset.name == "digits"
    assert opened.client.get_run(opened.id).info.artifact_uri.startswith("mlflow-artifacts:/"), "through the server"
    assert not (tmp_path / "unused").exists()


def test_a_server_that_is_not_there_is_an_error_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = make_run(tmp_path, tmp_path / "unused", tracking_uri="http://127.0.0.1:9")
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        MlflowBackend().open(context=run.context())


def test_the_job_its_code_and_the_group_of_its_array_are_tags(tmp_path: Path, savedir: Path) -> None:
    run = make_run(tmp_path, savedir)
    run.facts = msgspec.structs.replace(run.facts, group="array-41")
    opened = Opened(run)
    git = Git("0f5a91c2", "main", True, "https://git.example/lab/digits.git")
    opened.log(JobFacts(T0_NS, ("train.py",), "/", {"torch": "2.13"}, git, "slurm", {"job": "42", "partition": "gpu"}))
    expected = {
        "mlflow.source.git.commit": "0f5a91c2",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.repoURL": "https://git.example/lab/digits.git",
        "ranklog.git.dirty": "True",
        "ranklog.version.torch": "2.13",
        "slurm.job": "42",
        "slurm.partition": "gpu",
        "ranklog.group": "array-41",
    }
    assert opened.tags().items() >= expected.items()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_relative_path_of_a_database_is_below_the_directory_where_training_was_started(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    logger = MLFlowLogger(savedir="logs", tracking_uri="sqlite:///own.db" if by == "argument" else None)
    with logger.start_logging():
        logger.log(0.5, "loss", step=0)
        assert logger.wait_delivered(60)
        run_id = logger.run_id
    assert mlflow.MlflowClient(f"sqlite:///{tmp_path}/own.db").get_run(run_id).data.metrics == {"loss": 0.5}
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.db")) == [Path("own.db")]
