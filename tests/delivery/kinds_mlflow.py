"""What MLflow's own client finds of a run of each kind."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import numpy as np
from items import gif, png, wav
from mlflow import MlflowClient

from ranklog.model import content


def found(savedir: Path, run_id: str, known: dict[str, str]) -> dict[str, str]:
    """Kind to the form in which it is there."""
    client = MlflowClient(known["tracking_uri"])
    run = client.get_run(known["run_id"])
    forms: dict[str, str] = {}

    def read(path: str) -> bytes:
        return Path(client.download_artifacts(run.info.run_id, path)).read_bytes()

    if [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "each/metric")] == [(1, 0.5)]:
        forms["metric"] = "metric"
    if run.data.params == {"each/param": "0.25"}:
        forms["param"] = "parameter"
    files = {
        "text": ("each/text.txt", b"a text of its own"),
        "html": ("each/html.html", b"<b>a page of its own</b>"),
        "artifact": ("each/artifact", b"bytes of its own"),
        "torch": ("each/torch.pt", b"PK-tensors"),
        "audio": ("each/audio.wav", wav([0, 1000, -1000, 0], 8000)),
        "video": ("each/video.gif", gif(3)),
    }
    forms |= {kind: "file" for kind, (path, body) in files.items() if read(path) == body}
    if json.loads(read("each/dict.json")) == {"depth": 3}:
        forms["dict"] = "file"
    if json.loads(read("each/prov_documents.json")) == {"create_graph": False, "create_svg": False}:
        forms["prov_documents"] = "file"
    if msgspec.json.decode(read("each/histogram.json"), type=content.Histogram).counts == [4, 6]:
        forms["histogram"] = "file"
    if len(msgspec.json.decode(read("each/graph.json"), type=content.Graph).nodes) == 5:
        forms["graph"] = "file"
    if np.load(io.BytesIO(read("each/embedding/vectors.npy"))).shape == (3, 2):
        forms["embedding"] = "file"
    listed = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    if {"path": "each/table.json", "type": "table"} in listed and json.loads(read("each/table.json"))["data"][1][
        0
    ] == 2:
        forms["table"] = "table"
    images = [each.path for each in client.list_artifacts(run.info.run_id, "images")]
    shown = [path for path in images if path.startswith("images/each~image+step+1+") and path.endswith(".png")]
    if [read(path) for path in shown] == [png(3, 2)] and run.data.tags["mlflow.loggedImages"] == "True":
        forms["image"] = "image"
    if read("each/figure.png") == png(5, 2):
        forms["figure"] = "PNG, or page and JSON"
    curve = msgspec.json.decode(read("each/pr_curve.json"), type=content.PrCurve)
    if curve.recall[0] == 1.0 and b"threshold 0.5" in read("each/pr_curve.html"):
        forms["pr_curve"] = "JSON and page"
    if (
        run.data.tags["ranklog.alert.each/alert"] == "warning: what happened"
        and read("each/alert.txt") == b"what happened"
    ):
        forms["alert"] = "tag and text"
    (dataset,) = run.inputs.dataset_inputs
    if (dataset.dataset.name, dataset.dataset.digest) == ("digits", "0123456789abcdef"):
        forms["dataset"] = "dataset of the run's inputs"
    for model in client.search_logged_models([run.info.experiment_id]):
        if model.source_run_id == run.info.run_id and model.status.name == "READY":
            forms[model.tags["ranklog.kind"]] = "logged model"
    return forms
