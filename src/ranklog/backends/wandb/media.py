"""Items as values that W&B shows: its media, tables, charts and graphs.

Takes contents in their canonical encoding, gives objects of W&B's client; None where W&B or this machine cannot
show it.
"""

from __future__ import annotations

import html
import io
import mimetypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ranklog.backends.shared.plotly_page import read_figure
from ranklog.model import content

MAX_BINS = 512
MAX_ROWS = 10_000
MAX_COLUMNS = 150
"""What W&B's projector takes as dimensions; of more it gets one column that holds the vectors."""
MAX_ITEMS = {"image": 108, "figure": 108}
"""Of a longer list of images W&B shows the first ones and drops the others."""
LISTS = ("image", "figure", "audio", "video", "html")
_FILMS = (".gif", ".mp4", ".webm", ".ogg")


def media_of(path: str) -> str:
    """Media type of one file of a list."""
    suffix = Path(path).suffix
    if suffix == ".json":
        return content.PLOTLY
    return content.HTML if suffix == ".html" else mimetypes.guess_type(path)[0] or ""


def _text(body: bytes, caption: str | None) -> Any:
    import wandb

    return wandb.Html(f"<pre>{html.escape(body.decode())}</pre>", data_is_not_path=True)


def _html(body: bytes, caption: str | None) -> Any:
    import wandb

    return wandb.Html(body.decode(), data_is_not_path=True)


def _table(body: bytes, caption: str | None) -> Any:
    import wandb

    table = msgspec.json.decode(body, type=content.Table)
    if len(table.data) > MAX_ROWS:
        return None
    return wandb.Table(columns=table.columns, data=table.data, allow_mixed_types=True)


def _histogram(body: bytes, caption: str | None) -> Any:
    import wandb

    histogram = msgspec.json.decode(body, type=content.Histogram)
    return wandb.Histogram(np_histogram=merge_bins(histogram.counts, histogram.edges, MAX_BINS))


def merge_bins(counts: list[float], edges: list[float], limit: int) -> tuple[list[float], list[float]]:
    """Join neighbouring bins, equally many each, until there are at most ``limit``.

    Example:
        >>> merge_bins([1, 2, 3], [0, 1, 2, 3], 2)
        ([3, 3], [0, 2, 3])
    """
    size = max(1, -(-len(counts) // limit))
    joined = [sum(counts[start : start + size]) for start in range(0, len(counts), size)]
    return joined, [*edges[:-1:size], edges[-1]]


def _image(body: bytes, caption: str | None) -> Any:
    import wandb
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body)) as picture:
            return wandb.Image(picture, caption=caption)
    except (Image.DecompressionBombError, Image.UnidentifiedImageError):
        return None  # above 178 million pixels, or damaged before it was logged


def _plotly(body: bytes, caption: str | None) -> Any:
    import wandb

    try:
        figure = read_figure(body)
    except ImportError:
        return None
    return wandb.Plotly(figure)


def _curve(body: bytes, caption: str | None) -> Any:
    """A chart of precision over recall, with its table."""
    import wandb

    curve = msgspec.json.decode(body, type=content.PrCurve)
    rows = [list(row) for row in zip(curve.recall, curve.precision, curve.thresholds, strict=True)]
    table = wandb.Table(columns=["recall", "precision", "threshold"], data=rows)
    return wandb.plot.line(table, "recall", "precision", title="precision over recall")


def _graph(body: bytes, caption: str | None) -> Any:
    import wandb
    from wandb.sdk.data_types.graph import Node

    shown = wandb.Graph()
    nodes: dict[str, Any] = {}
    for node in msgspec.json.decode(body, type=content.Graph).nodes:
        nodes[node.name] = Node(id=node.name, name=node.name, class_name=node.op, output_shape=node.shape or [])
        shown.add_node(nodes[node.name])
        for source in node.inputs:
            if source in nodes:
                shown.add_edge(nodes[source], nodes[node.name])
    return shown


def embedding(files: Mapping[str, bytes]) -> Any:
    """A table that W&B's projector reads: labels, then a column a dimension; None above `MAX_ROWS` vectors."""
    import numpy as np
    import wandb

    vectors = np.load(io.BytesIO(files["vectors.npy"]), allow_pickle=False)
    if len(vectors) > MAX_ROWS:
        return None
    # Not `splitlines`, which takes more than the newline for an end.
    labels = [line.split("\t") for line in files.get("metadata.tsv", b"").decode().split("\n")[:-1]]
    width = len(labels[0]) if labels else 0
    names = labels.pop(0) if len(labels) > len(vectors) else ["label"] * width
    rows = vectors.tolist()
    if vectors.shape[1] <= MAX_COLUMNS:
        columns = [*names, *(f"d{index}" for index in range(vectors.shape[1]))]
        data = [[*label, *row] for label, row in zip(labels or [[]] * len(rows), rows, strict=True)]
    else:
        columns = [*names, "vector"]
        data = [[*label, row] for label, row in zip(labels or [[]] * len(rows), rows, strict=True)]
    return wandb.Table(columns=columns, data=data, allow_mixed_types=True)


def _audio(path: Path, caption: str | None) -> Any:
    import wandb

    return wandb.Audio(str(path), caption=caption)


def _video(path: Path, caption: str | None) -> Any:
    import wandb

    if path.suffix.lower() not in _FILMS:
        return None
    return wandb.Video(str(path), caption=caption, format=path.suffix.lower()[1:])


FROM_CONTENT: dict[tuple[str, str], Callable[[bytes, str | None], Any]] = {
    ("text", content.TEXT): _text,
    ("html", content.HTML): _html,
    ("table", content.TABLE): _table,
    ("histogram", content.HISTOGRAM): _histogram,
    ("image", content.PNG): _image,
    ("figure", content.PNG): _image,
    ("figure", content.PLOTLY): _plotly,
    ("pr_curve", content.PR_CURVE): _curve,
    ("graph", content.GRAPH): _graph,
}
"""What is made from a content, by kind and media type."""

FROM_FILES: dict[str, Callable[[Path, str | None], Any]] = {"audio": _audio, "video": _video}
"""What W&B takes as a file, by kind."""
