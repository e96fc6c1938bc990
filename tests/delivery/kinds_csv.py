"""What became of `Run.each_kind` in the CSV backend's folder, by pandas, JSON and the readers of the media."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image


def found(savedir: Path, run_id: str, known: dict[str, str]) -> dict[str, str]:
    """Kind to the form in which it is there."""
    folder = savedir / run_id
    assert Path(known["directory"]) == folder
    forms: dict[str, str] = {}
    metrics = pd.read_csv(folder / "metrics.csv")
    rows = metrics[metrics["name"] == "each/metric"]
    if rows[["step", "value"]].to_numpy().tolist() == [[1, 0.5]]:
        forms["metric"] = "row of metrics.csv"
    if json.loads((folder / "params.json").read_text()) == {"each/param": 0.25}:
        forms["param"] = "params.json"
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    alerts = [(line["level"], line["code"], line["text"]) for line in events if line["type"] == "alert"]
    if alerts == [("warning", "each/alert", "what happened")]:
        forms["alert"] = "line of events.jsonl"
    for line in (folder / "items.jsonl").read_text().splitlines():
        item = json.loads(line)
        kind, path = item["kind"], folder / item["path"]
        if item["name"] == f"each/{kind}" and item["step"] == 1 and FILES[kind](path):
            forms[kind] = "file, also CSV" if path.with_name(f"{path.name}.csv").is_file() else "file"
    return forms


def png_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _sound(path: Path) -> list[int]:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(99), dtype="<i2").tolist()


def _table(path: Path) -> bool:
    as_csv = pd.read_csv(f"{path}.csv")
    return (
        json.loads(path.read_text()) == {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}
        and as_csv.to_numpy().tolist() == [[1, "x"], [2, "y"]]
        and list(as_csv) == ["a", "b"]
    )


FILES: dict[str, Callable[[Path], bool]] = {
    "text": lambda path: path.read_text() == "a text of its own",
    "dict": lambda path: json.loads(path.read_text()) == {"depth": 3},
    "table": _table,
    "histogram": lambda path: json.loads(path.read_text())["counts"] == [4, 6],
    "image": lambda path: png_size(path) == (3, 2),
    "figure": lambda path: png_size(path) == (5, 2),
    "audio": lambda path: _sound(path) == [0, 1000, -1000, 0],
    "video": lambda path: getattr(Image.open(io.BytesIO(path.read_bytes())), "n_frames", 0) == 3,
    "html": lambda path: path.read_text() == "<b>a page of its own</b>",
    "artifact": lambda path: path.read_bytes() == b"bytes of its own",
    "dataset": lambda path: json.loads(path.read_text())["digest"] == "0123456789abcdef",
    "torch": lambda path: path.read_bytes() == b"PK-tensors",
    "model": lambda path: (path / "state_dict.pt").read_bytes() == b"PK-state",
    "best_model": lambda path: (path / "state_dict.pt").read_bytes() == b"PK-best",
    "graph": lambda path: len(json.loads(path.read_text())["nodes"]) == 5,
    "embedding": lambda path: np.load(path / "vectors.npy").tolist() == [[0, 1], [2, 3], [4, 5]],
    "pr_curve": lambda path: pd.read_csv(f"{path}.csv")["true_positives"].tolist() == [3, 2, 0],
    "prov_documents": lambda path: json.loads(path.read_text()) == {"create_graph": False, "create_svg": False},
}
