"""What TensorBoard's own reader finds of a run of each kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from items import gif, png, wav
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

ALL = {"scalars": 0, "images": 0, "tensors": 0, "histograms": 0, "compressedHistograms": 0, "audio": 0}
TEXTS = {
    "text": "a text of its own",
    "dict": '"depth": 3',
    "table": "| 2 | y |",
    "dataset": "| digest | 0123456789abcdef |",
    "alert": "**warning**: what happened",
}
FILES = {
    "html": b"<b>a page of its own</b>",
    "artifact": b"bytes of its own",
    "torch": b"PK-tensors",
    "model": b"PK-state",
    "best_model": b"PK-best",
    "prov_documents": b'{"create_graph":false,"create_svg":false}',
}


def found(savedir: Path, run_id: str, known: dict[str, str]) -> dict[str, str]:
    """Kind to the form in which it is there."""
    read = EventAccumulator(known["folder"], size_guidance=ALL).Reload()
    forms: dict[str, str] = {}

    def text(kind: str) -> str:
        (event,) = read.Tensors(f"each/{kind}")
        assert read.SummaryMetadata(f"each/{kind}").plugin_data.plugin_name == "text"
        return tensor_util.make_ndarray(event.tensor_proto).item().decode()

    if [(each.step, each.value) for each in read.Scalars("each/metric")] == [(1, 0.5)]:
        forms["metric"] = "scalar"
    start = read.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    hparams = plugin_data_pb2.HParamsPluginData.FromString(start).session_start_info.hparams
    if hparams["each/param"].number_value == 0.25:
        forms["param"] = "hparam"
    forms |= {kind: "text" for kind, part in TEXTS.items() if part in text(kind)}
    stored = {path.read_bytes() for path in Path(known["folder"]).rglob("artifacts/**/*") if path.is_file()}
    forms |= {kind: "file" for kind, body in FILES.items() if body in stored and "artifacts/" in text(kind)}
    (histogram,) = read.Tensors("each/histogram")
    if tensor_util.make_ndarray(histogram.tensor_proto).tolist() == [[0.0, 1.0, 4.0], [1.0, 3.0, 6.0]]:
        forms["histogram"] = "histogram"
    if read.Images("each/image")[0].encoded_image_string == png(3, 2):
        forms["image"] = "image"
    if read.Images("each/figure")[0].encoded_image_string == png(5, 2):
        forms["figure"] = "image; plotly: file"
    film = read.Images("each/video")[0]
    if (film.width, film.height, film.encoded_image_string) == (4, 4, gif(3)):
        forms["video"] = "animated image"
    sound = read.Audio("each/audio")[0]
    told = (sound.sample_rate, sound.length_frames, sound.content_type, sound.encoded_audio_string)
    if told == (8000, 4, "audio/wav", wav([0, 1000, -1000, 0], 8000)):
        forms["audio"] = "audio"
    nodes = {node.name: node for node in read.Graph().node}
    if list(nodes["net/0/linear"].input) == ["input", "net/0/weight"]:
        forms["graph"] = "graph"
    (curve,) = read.Tensors("each/pr_curve/pr_curves")
    rows = tensor_util.make_ndarray(curve.tensor_proto)
    if rows.shape == (6, 3) and np.allclose(rows[5], [1.0, 2 / 3, 0.0]):
        forms["pr_curve"] = "PR curve"
    tensors = np.loadtxt(Path(known["folder"]) / "projector" / "each" / "embedding" / "tensors.tsv")
    if tensors.tolist() == [[0, 1], [2, 3], [4, 5]] and (Path(known["folder"]) / "projector_config.pbtxt").exists():
        forms["embedding"] = "projector"
    return forms
