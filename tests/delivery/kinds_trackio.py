"""What Trackio's own API finds of a run of each kind."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from items import gif, png, wav
from trackio_reader import TrackioRun

ARTIFACTS: dict[str, Callable[[dict[str, bytes]], bool]] = {
    "artifact": lambda files: files == {"artifact": b"bytes of its own"},
    "torch": lambda files: files == {"torch.pt": b"PK-tensors"},
    "model": lambda files: files == {"state_dict.pt": b"PK-state"},
    "best_model": lambda files: files == {"state_dict.pt": b"PK-best"},
    "graph": lambda files: len(json.loads(files["graph.json"])["nodes"]) == 5,
    "embedding": lambda files: np.load(io.BytesIO(files["vectors.npy"])).tolist() == [[0, 1], [2, 3], [4, 5]],
    "prov_documents": lambda files: json.loads(files["prov_documents.json"])["create_svg"] is False,
    "dataset": lambda files: json.loads(files["dataset.json"])["digest"] == "0123456789abcdef",
}
MEDIA = {
    "image": ("trackio.image", png(3, 2), "a picture"),
    "figure": ("trackio.image", png(5, 2), None),
    "audio": ("trackio.audio", wav([0, 1000, -1000, 0], 8000), "a sound"),
    "video": ("trackio.video", gif(3), "a film"),
    "html": ("trackio.html", b"<b>a page of its own</b>", None),
}
VALUES = {
    "metric": 0.5,
    "text": {"_type": "trackio.markdown", "_value": "a text of its own"},
    "dict": {"_type": "trackio.markdown", "_value": '```json\n{\n  "depth": 3\n}\n```'},
    "table": {"_type": "trackio.table", "_value": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
    "histogram": {"_type": "trackio.histogram", "bins": [0.0, 1.0, 3.0], "values": [4.0, 6.0]},
}
FORMS = {"text": "report", "dict": "report", "html": "HTML", "figure": "image, or HTML"}


def found(savedir: Path, run_id: str, known: dict[str, str]) -> dict[str, str]:
    """Kind to the form in which it is there."""
    run = TrackioRun(savedir, known["project"], run_id)
    forms = {
        kind: FORMS.get(kind, kind) for kind, value in VALUES.items() if run.values(f"each/{kind}") == [(1, value)]
    }
    forms |= {kind: FORMS.get(kind, kind) for kind, expected in MEDIA.items() if run.media(f"each/{kind}") == expected}
    if run.config["each/param"] == 0.25:
        forms["param"] = "config"
    ((_, curve),) = run.values("each/pr_curve")
    if curve["_type"] == "trackio.table" and [row["true_positives"] for row in curve["_value"]] == [3, 2, 0]:
        forms["pr_curve"] = "table"
    alerts = [(alert["title"], alert["text"], alert["level"], alert["step"]) for alert in run.alerts]
    if alerts == [("each/alert", "what happened", "warn", 1)]:
        forms["alert"] = "alert"
    for (direction, _), artifact in run.artifacts.items():
        kind = artifact["type"]
        if artifact["metadata"]["name"] == f"each/{kind}" and ARTIFACTS[kind](artifact["files"]):
            forms[kind] = {"output": "artifact", "input": "artifact, used"}[direction]
    return forms
