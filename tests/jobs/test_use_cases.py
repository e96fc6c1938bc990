"""The use cases under examples/, run over two ranks as users run them, and read back with the backends' own readers."""

from __future__ import annotations

import json
import math
import re
import wave
from pathlib import Path

import mlflow
import pytest
import torch
from fork_server import server as fork_server
from launch import Finished, job_environment, torchrun
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_database import place_database
from prov.model import ProvDocument
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ranklog.journal.layout import find_runs
from ranklog.model.record import End, Item
from ranklog.testing import captured, series

pytestmark = pytest.mark.slow

USE_CASES = Path(__file__).parents[2] / "examples" / "use_cases"


class Trained:
    """A use case that has run, and how to look at what it logged."""

    def __init__(self, name: str, folder: Path, *arguments: str) -> None:
        self.savedir = folder / "mllogs"
        place_database(self.savedir / "mlflow" / "mlflow.db")
        script = USE_CASES / f"{name}.py"
        self.done: Finished = torchrun(2, script, "--savedir", str(self.savedir), *arguments, cwd=folder, timeout_s=200)
        assert self.done.code == 0, self.done.output
        self.client = MlflowClient(self.uri)
        (self.run,) = self.client.search_runs([each.experiment_id for each in self.client.search_experiments()])

    @property
    def events(self) -> EventAccumulator:
        (folder,) = (self.savedir / "tensorboard").iterdir()
        return EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0, "scalars": 0}).Reload()

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.savedir}/mlflow/mlflow.db"

    def read(self, artifact: str) -> Path:
        return Path(self.client.download_artifacts(self.run.info.run_id, artifact, str(self.savedir.parent)))

    def model(self, address: str) -> torch.nn.Module:
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(self.uri)
        try:
            return mlflow.pytorch.load_model(address)
        finally:
            mlflow.set_tracking_uri(before)

    def steps(self, metric: str) -> list[int]:
        return sorted(each.step for each in self.client.get_metric_history(self.run.info.run_id, metric))

    def artifacts(self, path: str = "") -> set[str]:
        found: set[str] = set()
        for each in self.client.list_artifacts(self.run.info.run_id, path):
            found |= self.artifacts(each.path) if each.is_dir else {each.path}
        return found


def is_whole(run: Run) -> bool:
    return run.info.status == "FINISHED" and run.data.tags["ranklog.coverage"] == "2/2"


def test_the_classifier_logs_epochs_batches_models_and_what_it_gets_wrong(tmp_path: Path) -> None:
    trained = Trained("classify_digits", tmp_path, "--epochs", "2")
    assert is_whole(trained.run)
    assert trained.steps("train/loss") == [0, 1]
    assert trained.steps("train/batch_loss/mean") == [0, 10, 20, 23, 33, 43], "each tenth batch of each epoch"
    assert trained.run.data.metrics["train/loss"] < 2.0 < 10 * trained.run.data.metrics["val/accuracy"]
    assert trained.run.data.params["optimizer.lr"] == "0.002"
    assert trained.run.data.tags["ranklog.goal.val/accuracy"] == "max"
    (dataset,) = trained.run.inputs.dataset_inputs
    assert dataset.dataset.name == "digits"
    champion = trained.client.get_model_version_by_alias("digits", "champion")
    assert champion.run_id == trained.run.info.run_id
    images = trained.artifacts("images")
    assert len([path for path in images if re.match(r"images/val~wrong~[0-7]\+step\+1\+.*\.png", path)]) == 8
    captions = [trained.read(path).read_text() for path in trained.artifacts("captions") if "wrong" in path]
    assert len(captions) == 16, "eight an epoch"
    assert all(re.fullmatch(r"(\d) taken for (?!\1)\d", caption) for caption in captions)
    events = trained.events
    assert [each.step for each in events.Images("val/confusion")] == [0, 1]
    assert any(node.op == "conv2d" for node in events.Graph().node)
    assert [each.step for each in events.Tensors("val/eights/pr_curves")] == [0, 1]
    (folder,) = (trained.savedir / "tensorboard").iterdir()
    assert "val/codes" in (folder / "projector_config.pbtxt").read_text()
    assert [each.step for each in events.Tensors("gradients/net.features.0.weight")] == [0, 20, 40]
    models = trained.client.search_logged_models([trained.run.info.experiment_id])
    (net,) = [each for each in models if each.name == "net"]
    last = trained.model(f"models:/{net.model_id}")
    best = trained.model("models:/digits@champion")
    for loaded in (last, best):
        assert loaded(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    output = trained.done.output
    assert "val/accuracy" in output and "\r" not in output
    assert "WARNING" not in output and "RanklogWarning" not in output, output


def test_the_generator_logs_two_networks_their_film_and_where_the_checkpoint_lies(tmp_path: Path) -> None:
    trained = Trained("generate_showers", tmp_path, "--epochs", "3")
    assert is_whole(trained.run)
    assert trained.steps("batch/generator") == list(range(0, 45, 5))
    assert trained.steps("epoch/critic") == trained.steps("seconds") == [0, 1, 2]
    assert trained.run.data.metrics["flops/generator"] > 1e6
    assert {"grad_norm/generator", "grad_norm/critic"} <= trained.run.data.metrics.keys()
    assert "showers/film.gif" in trained.artifacts("showers")
    (model,) = trained.client.search_logged_models([trained.run.info.experiment_id])
    (checkpoint,) = (trained.savedir / "checkpoints").iterdir()
    assert model.tags["ranklog.uri"] == checkpoint.as_uri()
    assert {path.name for path in checkpoint.iterdir()} == {"critic.pt", "generator.pt"}
    events = trained.events
    assert [each.step for each in events.Images("showers/made/0")] == [0, 1, 2]
    assert events.Images("showers/film")[0].encoded_image_string.startswith(b"GIF8")
    assert [each.step for each in events.Tensors("parameters/critic.1.weight")] == [0, 15, 30]
    assert not any("diverged" in tag for tag in trained.run.data.tags.values())


def test_a_generator_that_diverges_alone_raises_alerts_and_hides_no_gradient(tmp_path: Path) -> None:
    script = [str(USE_CASES / "generate_showers.py"), "--epochs", "2", "--lr", "1e20", "--backends", "journal"]
    process = fork_server().start(*script, cwd=tmp_path, env=job_environment())
    output = process.communicate()
    assert process.returncode == 0, output
    (run,) = find_runs(tmp_path / "mllogs")
    records = captured(run)
    assert [each.status for each in records if isinstance(each, End)] == ["FINISHED"]
    alerts = {(each.name, each.step) for each in records if isinstance(each, Item) and each.kind == "alert"}
    assert alerts == {(f"{name} diverged", step) for name in ("generator", "critic") for step in (0, 1)}
    norms = series(records, "grad_norm/critic")
    assert norms[0] > 0 and math.isnan(norms[15])


def test_the_detector_logs_each_rank_a_sound_and_its_provenance(tmp_path: Path) -> None:
    trained = Trained("find_glitches", tmp_path)
    assert trained.run.info.status == "FINISHED"
    losses = [each.value for each in trained.client.get_metric_history(trained.run.info.run_id, "val/loss")]
    epochs = len(losses)
    assert trained.steps("val/loss") == list(range(epochs)), "MLflow takes epochs"
    assert 4 < epochs < 20 and min(losses[:-2]) < min(losses[-2:]) + 1e-3, "it stops early"
    assert "train/loss" not in trained.run.data.metrics
    events = trained.events
    assert len(events.Scalars("train/loss")) == 12 * epochs, "TensorBoard takes batches"
    ranks = [[each.value for each in events.Scalars(f"train/loss_of/rank_00{rank}")] for rank in (0, 1)]
    means = [each.value for each in events.Scalars("train/loss")]
    assert means == pytest.approx([(first + second) / 2 for first, second in zip(*ranks, strict=True)], rel=1e-5)
    assert trained.run.data.metrics["system/system_memory_usage_percentage"] > 0
    assert f"{epochs} epochs" in trained.read("report.html").read_text()
    assert trained.read("summary.txt").read_text().startswith(f"Stopped after epoch {epochs - 1};")
    with wave.open(str(trained.read("glitch.wav"))) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (1024, 1024)
    table = json.loads(trained.read("val/predictions.json").read_text())
    assert table["columns"] == ["signal", "glitch", "score"] and len(table["data"]) == 20
    right = [glitch == (score > 0.5) for _, glitch, score in table["data"]]
    assert sum(right) > 14, "it learned"
    assert "val/loss" in trained.done.output
    (document,) = (trained.savedir / "provenance").rglob("provenance.json")
    records = ProvDocument.deserialize(str(document)).get_records()
    labels = {str(label) for record in records for label in record.get_attribute("prov:label")}
    assert {"training", "validation", "strain", "val/loss"} <= labels
