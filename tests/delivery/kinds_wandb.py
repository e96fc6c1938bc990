"""What is in W&B's own offline file of a run of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from items import gif, png, wav
from wandb_reader import OfflineRun, offline_files

FILES = {
    "artifact": b"bytes of its own",
    "torch": b"PK-tensors",
    "model": b"PK-state",
    "best_model": b"PK-best",
    "dict": b'{"depth":3}',
    "prov_documents": b'{"create_graph":false,"create_svg":false}',
}
TYPES = {"dict": "config", "dataset": "dataset", "model": "model", "best_model": "model"}


def found(savedir: Path, run_id: str, known: dict[str, str]) -> dict[str, str]:
    """Kind to the form in which it is there."""
    (path,) = offline_files(savedir)
    run = OfflineRun(path)
    forms: dict[str, str] = {}

    def shown(kind: str, type_: str, column: str = "") -> bytes:
        ((step, value),) = run.rows(column or f"each/{kind}")
        assert (step, value["_type"]) == (1, type_), value
        return (run.directory / "files" / value["path"]).read_bytes()

    if run.rows("each/metric") == [(1, 0.5)]:
        forms["metric"] = "history"
    if run.config["each/param"] == 0.25:
        forms["param"] = "config"
    if b"a text of its own" in shown("text", "html-file"):
        forms["text"] = "Html"
    if b"<b>a page of its own</b>" in shown("html", "html-file"):
        forms["html"] = "Html"
    if json.loads(shown("table", "table-file"))["data"] == [[1, "x"], [2, "y"]]:
        forms["table"] = "Table"
    ((_, histogram),) = run.rows("each/histogram")
    if (histogram["_type"], histogram["values"], histogram["bins"]) == ("histogram", [4, 6], [0.0, 1.0, 3.0]):
        forms["histogram"] = "Histogram"
    if _pixels(shown("image", "image-file")) == _pixels(png(3, 2)):
        forms["image"] = "Image"
    if _pixels(shown("figure", "image-file")) == _pixels(png(5, 2)):
        forms["figure"] = "Image or Plotly"
    if shown("audio", "audio-file") == wav([0, 1000, -1000, 0], 8000):
        forms["audio"] = "Audio"
    if shown("video", "video-file") == gif(3):
        forms["video"] = "Video"
    nodes = json.loads(shown("graph", "graph-file"))["nodes"]
    if [node["class_name"] for node in nodes] == ["input", "parameter", "linear", "relu", "output"]:
        forms["graph"] = "Graph"
    table = json.loads(shown("embedding", "table-file"))
    if (table["columns"], table["data"][1]) == (["label", "score", "d0", "d1"], ["b", "2", 2.0, 3.0]):
        forms["embedding"] = "Table"
    curve = json.loads(shown("pr_curve", "table-file", "each/pr_curve_table"))
    if curve["data"][0] == [1.0, 0.6, 0.0] and "each/pr_curve" in json.dumps(_visualize(run)):
        forms["pr_curve"] = "chart"
    if [(alert.title, alert.text, alert.level) for alert in run.alerts] == [("each/alert", "what happened", "WARN")]:
        forms["alert"] = "alert"
    for artifact in run.artifacts:
        metadata = json.loads(artifact.metadata) if artifact.metadata else {}
        kind = metadata.get("kind")
        bodies = [Path(file.local_path).read_bytes() for file in artifact.manifest.contents if file.local_path]
        if kind == "dataset" and metadata["digest"] == "0123456789abcdef" and artifact.type == "dataset":
            forms[kind] = "artifact of type dataset"
        elif kind in FILES and FILES[kind] in bodies and artifact.type == TYPES.get(kind, "artifact"):
            forms[kind] = f"artifact of type {artifact.type}" if artifact.type == "model" else "artifact"
    return forms


def _pixels(body: bytes) -> Any:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(body)) as picture:
        return picture.convert("RGB").tobytes()


def _visualize(run: OfflineRun) -> Any:
    return run.config.get("_wandb", {})
