"""Datasets, models, goals, alerts and lists in MLflow, as its own client shows them; requests within its limits."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import msgspec
import pytest
from items import T0_NS, Run, metrics, png
from mlflow.entities import LoggedModel
from mlflow_database import place_database
from test_mlflow import Opened, make_run

from ranklog.backends.mlflow.backend import MlflowBackend
from ranklog.loggers import MLFlowLogger
from ranklog.model.content import DATASET, FOLDER, Dataset
from ranklog.model.record import EVERY_BACKEND, Attempt, MetricInfo, Params
from ranklog.model.spec import BackendSpec


@pytest.fixture(scope="module")
def savedir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return place_database(tmp_path_factory.mktemp("mllogs") / "mlflow" / "mlflow.db").parent


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def opened(tmp_path: Path, savedir: Path) -> Opened:
    return Opened(make_run(tmp_path, savedir))


def models(opened: Opened) -> list[LoggedModel]:
    found = opened.client.search_logged_models([opened.known["experiment_id"]])
    return sorted((each for each in found if each.source_run_id == opened.id), key=lambda each: each.name)


def again(opened: Opened) -> None:
    """Deliver everything once more, as after a crash."""
    opened.reopen(resumed_at=1)
    opened.backend.deliver(entries=opened.run.entries[1:])


def test_a_dataset_is_an_input_of_the_run_with_schema_and_context_and_shows_once(opened: Opened) -> None:
    long = Dataset(name="given", digest="d" * 64, digest_of="given", source="s3://bucket/x", source_type="uri")
    opened.log(
        opened.run.dataset("train", context="training"),
        opened.run.structured("dataset", "given", DATASET, long),
    )
    again(opened)
    inputs = {each.dataset.name: each for each in opened.client.get_run(opened.id).inputs.dataset_inputs}
    assert inputs.keys() == {"digits", "given"}
    digits = inputs["digits"].dataset
    assert (digits.digest, json.loads(digits.source)) == ("0123456789abcdef", {"uri": "/data/digits.csv"})
    columns = json.loads(digits.schema)["mlflow_colspec"]
    assert [(each["name"], each["type"]) for each in columns] == [("x", "double"), ("label", "long")]
    assert json.loads(digits.profile)["num_rows"] == 1797
    assert {tag.key: tag.value for tag in inputs["digits"].tags} == {"mlflow.data.context": "training"}
    assert len(inputs["given"].dataset.digest) == 36
    assert json.loads(inputs["given"].dataset.profile)["digest"] == "d" * 64


def test_weights_that_mlflow_did_not_save_are_a_logged_model_with_params_and_the_metrics_of_then(
    opened: Opened,
) -> None:
    opened.log(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.5}),
        metrics(0, {"loss": 3.0}),
        metrics(1, {"loss": 2.0, "system/cpu_utilization_percentage": 5.0}),
        opened.run.folder("net", {"state_dict.pt": b"w", "architecture.txt": b"a"}, kind="model", step=1),
        metrics(2, {"loss": 1.0}),
    )
    again(opened)
    (model,) = models(opened)
    assert (model.name, model.status.name) == ("net", "READY")
    assert model.params == {"lr": "0.5"}
    assert [(m.key, m.value, m.step) for m in model.metrics] == [("loss", 2.0, 1)]
    files = {each.path for each in opened.client.list_logged_model_artifacts(model.model_id)}
    assert files == {"MLmodel", "state_dict.pt", "architecture.txt"}
    assert [m[2] for m in opened.history("loss")] == [3.0, 2.0, 1.0], "and the run's own are there once"


def test_a_checkpoint_by_reference_is_a_logged_model_that_says_where_it_lies(opened: Opened, tmp_path: Path) -> None:
    folder = tmp_path / "ckpt"
    folder.mkdir()
    (folder / "shard-0.pt").write_bytes(b"12345")
    item = opened.run.reference("ckpt", folder, kind="best_model")
    opened.log(msgspec.structs.replace(item, meta={"registered_model_name": "sharded"}))
    again(opened)
    (model,) = models(opened)
    assert model.tags["ranklog.uri"] == folder.as_uri() and model.tags["ranklog.bytes"] == "5"
    assert model.tags["mlflow.model.isExternal"] == "true" and model.status.name == "READY"
    files = {each.path for each in opened.client.list_logged_model_artifacts(model.model_id)}
    assert files == {"MLmodel", "ckpt.json"}, "and no weights"
    version = opened.client.get_model_version_by_alias("sharded", "best")
    assert (version.version, version.tags["ranklog.model_id"]) == (1, model.model_id)


def test_the_best_model_is_registered_under_an_alias_that_never_goes_back(opened: Opened) -> None:
    def best(step: int) -> object:
        item = opened.run.folder("net", {"state_dict.pt": b"%d" % step}, kind="best_model", step=step)
        return msgspec.structs.replace(item, meta={"registered_model_name": "digits/net", "alias": "champion"})

    opened.log(best(0), best(1))
    again(opened)
    opened.backend.deliver(entries=[opened.run.entries[-2]])
    name = "digits_x002F_net"
    versions = opened.client.search_model_versions(f"name = '{name}'")
    assert len(versions) == 2
    champion = opened.client.get_model_version_by_alias(name, "champion")
    assert champion.version == max(int(each.version) for each in versions)
    assert opened.client.get_logged_model(champion.tags["ranklog.model_id"]).tags["ranklog.step"] == "1"
    assert champion.run_id == opened.id


def test_a_best_model_without_a_name_to_register_is_not_registered(opened: Opened) -> None:
    opened.log(opened.run.folder("alone", {"state_dict.pt": b"w"}, kind="best_model"))
    assert not opened.client.search_model_versions("name = 'alone'")
    assert opened.tags()["ranklog.best_model"] == models(opened)[0].model_id


def test_a_goal_and_the_best_value_are_tags_by_which_runs_are_found(opened: Opened) -> None:
    opened.log(
        MetricInfo(T0_NS, EVERY_BACKEND, "val/loss", "min"),
        *(metrics(step, {"val/loss": value, "acc": value}) for step, value in enumerate([3.0, 1.5, 2.0])),
    )
    opened.reopen(resumed_at=5)
    opened.log(metrics(3, {"val/loss": float("-inf")}), MetricInfo(T0_NS, EVERY_BACKEND, "acc", "max"))
    opened.log(metrics(4, {"acc": 0.5}))
    tags = opened.tags()
    assert tags["ranklog.goal.val/loss"] == "min" and tags["ranklog.best.val/loss"] == "1.5 at step 1"
    assert tags["ranklog.best.acc"] == "0.5 at step 4"
    found = opened.client.search_runs([opened.known["experiment_id"]], "tags.`ranklog.best.val/loss` LIKE '1.5%'")
    assert opened.id in {run.info.run_id for run in found}


def test_a_best_value_that_was_corrected_or_undone_by_a_later_attempt_is_the_best_no_longer(opened: Opened) -> None:
    opened.log(
        MetricInfo(T0_NS, EVERY_BACKEND, "loss", "min"),
        *(metrics(step, {"loss": value}) for step, value in enumerate([3.0, 2.0, 1.0, 0.5])),
        metrics(3, {"loss": 1.5}, corrects=True),
    )
    assert opened.tags()["ranklog.best.loss"] == "1.0 at step 2"
    opened.log(Attempt(1, "r", 1, opened.run.attempt.place, "h", 1, T0_NS, ()), metrics(1, {"loss": 2.5}))
    opened.backend.deliver(entries=opened.run.entries[1:])
    assert opened.tags()["ranklog.best.loss"] == "2.5 at step 1", "also where all came again"
    again(opened)
    assert opened.tags()["ranklog.best.loss"] == "2.5 at step 1"


def test_a_list_of_images_is_a_series_each_with_its_caption(opened: Opened) -> None:
    opened.log(opened.run.images("pair", [png(2, 2), png(3, 3)], captions=["left", "right"], step=4))
    again(opened)
    shown = [path for path in opened.artifacts("images") if path.endswith(".png")]
    assert [path.partition("+")[0] for path in shown] == ["images/pair~0", "images/pair~1"]
    assert [opened.read(path) for path in shown] == [png(2, 2), png(3, 3)]
    assert [opened.read(path) for path in opened.artifacts("captions")] == [b"left", b"right"]


def test_captions_of_sounds_films_and_figures_are_texts_with_every_step(opened: Opened) -> None:
    figures = opened.run.item("figure", "pair", FOLDER, [("000.png", png())], meta={"caption.0": "left"})
    opened.log(
        opened.run.audio("clip", [0, 1], caption="first", step=0),
        opened.run.audio("clip", [0, 1], caption="second", step=1),
        opened.run.video("film", caption="a film"),
        figures,
    )
    assert {path: opened.read(path) for path in opened.artifacts("captions")} == {
        "captions/clip.wav.txt": b"second",
        "captions/steps/0/clip.wav.txt": b"first",
        "captions/steps/1/clip.wav.txt": b"second",
        "captions/film.gif.txt": b"a film",
        "captions/pair/000.png.txt": b"left",
    }


def test_system_metrics_have_the_names_of_mlflows_own_tab(opened: Opened) -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

    from ranklog.observe.node import SystemSampler

    monitor = CPUMonitor()
    monitor.collect_metrics()
    values = {f"system/{name}": value for name, value in SystemSampler().sample().items()}
    opened.log(metrics(0, values))
    stored = opened.client.get_run(opened.id).data.metrics
    assert {f"system/{name}" for name in monitor.aggregate_metrics()} <= stored.keys()


def test_no_request_is_larger_than_mlflow_takes(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    log_batch = mlflow.MlflowClient.log_batch

    def measured(client: object, run_id: str, **parts: list[object]) -> None:
        body = [dict(each) for part in parts.values() for each in part]
        sizes.append(len(json.dumps(body)))
        log_batch(client, run_id, **parts)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", measured)
    opened.log(
        Params(T0_NS, EVERY_BACKEND, {f"p{i}": "ü" * 5000 for i in range(120)}),
        metrics(0, {f"{'ü' * 240}{i}": 1.0 for i in range(1500)}),
        opened.run.folder("net", {"state_dict.pt": b"w"}, kind="model"),
    )
    assert max(sizes) < 1_000_000 and len(sizes) > 4
    run = opened.client.get_run(opened.id)
    assert len(run.data.params) == 120 and len(run.data.metrics) == 1500
    assert len(models(opened)[0].params) == 120 and len(models(opened)[0].metrics) == 1500


class _Asks(BaseHTTPRequestHandler):
    """Stands for a server that asks for a password: it only notes what it is told."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asks() -> Iterator[tuple[str, list[str]]]:
    handler = type("Asks", (_Asks,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.seen
        server.shutdown()


@pytest.mark.parametrize(
    ("environ", "sent"),
    [
        ({"USERNAME": "anna", "PASSWORD": "s3cret"}, "Basic " + base64.b64encode(b"anna:s3cret").decode()),
        ({"TOKEN": "s3cret"}, "Bearer s3cret"),
    ],
)
def test_the_password_or_token_of_the_environment_is_sent_and_in_no_error(
    environ: dict[str, str],
    sent: str,
    asks: tuple[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri, seen = asks
    for name, value in environ.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    run = Run(tmp_path / "run", BackendSpec(backend="mlflow", options={"tracking_uri": uri, "savedir": "/unused"}))
    with pytest.raises(Exception, match="401") as raised:
        MlflowBackend().open(context=run.context())
    assert "s3cret" not in str(raised.value)
    assert seen[0] == sent


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*cannot deliver to")
def test_a_password_inside_the_uri_is_sent_by_the_forwarder_and_in_no_file(
    asks: tuple[str, list[str]], tmp_path: Path
) -> None:
    uri, seen = asks
    logger = MLFlowLogger(tmp_path, tracking_uri=uri.replace("//", "//anna:s3cret@"))
    with logger.start_logging(exit_timeout=0.5):
        logger.log(1.0, "loss")
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            logger.wait_delivered(0.2)
    assert seen[0] == "Basic " + base64.b64encode(b"anna:s3cret").decode()
    found: dict[Path, bytes] = {}
    for path in tmp_path.rglob("*"):
        with suppress(OSError):  # the forwarder is still at work, and takes its lock away when it ends
            found[path] = path.read_bytes()
    assert {"run.msgpack", "journal-00000.rlj", "delivery.log"} <= {path.name for path in found}
    assert not [path for path, body in found.items() if b"s3cret" in body]


BEGIN = """
import sys
from pathlib import Path
import mlflow
from items import Run
from ranklog.backends.mlflow.backend import MlflowBackend
from ranklog.model.spec import BackendSpec

folder, savedir, name, uri = sys.argv[1:]
options = {"savedir": savedir, "tracking_uri": uri or None}
context = Run(Path(folder) / name, BackendSpec(backend="mlflow", options=options), name).context()
print("ready", flush=True)
sys.stdin.readline()
known = MlflowBackend().open(context=context)
print(known["run_id"], known["experiment_id"])
"""


@pytest.mark.slow
def test_two_processes_that_begin_at_once_make_one_whole_database(tmp_path: Path) -> None:
    savedir = tmp_path / "new" / "mlflow"
    # The second has a folder of its own, and is told of the first one's database.
    settings = [(savedir, "run-0", ""), (tmp_path / "other", "run-1", f"sqlite:///{savedir}/mlflow.db")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN, str(tmp_path), *map(str, each)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            **pipes,
        )
        for each in settings
    ]
    for each in begun:
        assert each.stdout.readline() == "ready\n"
    for each in begun:
        each.stdin.write("\n")
        each.stdin.flush()
    said = [each.communicate(timeout=100) for each in begun]
    assert [each.returncode for each in begun] == [0, 0], said
    runs, experiments = zip(*(out.split() for out, _ in said), strict=True)
    assert len(set(runs)) == 2 and len(set(experiments)) == 1
