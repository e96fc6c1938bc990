"""Items as objects that W&B shows: media, tables, charts and graphs.

Each function returns an object of W&B's client, or None when W&B or this machine cannot show the item.
"""

from __future__ import annotations

import html
import io
import mimetypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ranklog.backends.shared.plotly_page import read_figure
from ranklog.model import content
from ranklog.model.record import File

MAX_BINS = 512
MAX_ROWS = 10_000
MAX_COLUMNS = 150
"""Most dimensions of W&B's projector. Vectors with more dimensions become one column."""
_VIDEO_SUFFIXES = (".gif", ".mp4", ".webm", ".ogg")


class Source(msgspec.Struct, frozen=True):
    """The files of one item, or one file of a list.

    Attributes:
        files: The files.
        caption: Caption of the item, if any.
        read: Returns the content of a file.
        place: Writes a file into the folder of the run and returns its path.
    """

    files: Sequence[File]
    caption: str | None
    read: Callable[[File], bytes]
    place: Callable[[File], Path]

    @property
    def body(self) -> bytes:
        """Content of the first file."""
        return self.read(self.files[0])

    @property
    def path(self) -> Path:
        """Path of the first file, written to the folder of the run."""
        return self.place(self.files[0])


def media_of(path: str) -> str:
    """Return the media type of one file of a list."""
    suffix = Path(path).suffix
    if suffix == ".json":
        return content.PLOTLY
    return content.HTML if suffix == ".html" else mimetypes.guess_type(path)[0] or ""


def show_text(source: Source) -> Any:
    """Show a text as preformatted HTML."""
    import wandb

    return wandb.Html(f"<pre>{html.escape(source.body.decode())}</pre>", data_is_not_path=True)


def show_html(source: Source) -> Any:
    """Show a page of HTML."""
    import wandb

    return wandb.Html(source.body.decode(), data_is_not_path=True)


def show_table(source: Source) -> Any:
    """Show a table of at most `MAX_ROWS` rows."""
    import wandb

    table = msgspec.json.decode(source.body, type=content.Table)
    if len(table.data) > MAX_ROWS:
        return None
    return wandb.Table(columns=table.columns, data=table.data, allow_mixed_types=True)


def show_histogram(source: Source) -> Any:
    """Show a histogram, with at most `MAX_BINS` bins."""
    import wandb

    histogram = msgspec.json.decode(source.body, type=content.Histogram)
    return wandb.Histogram(np_histogram=merge_bins(histogram.counts, histogram.edges, MAX_BINS))


def merge_bins(counts: list[float], edges: list[float], limit: int) -> tuple[list[float], list[float]]:
    """Join neighbouring bins, the same number each, until there are at most ``limit``.

    Example:
        >>> merge_bins([1, 2, 3], [0, 1, 2, 3], 2)
        ([3, 3], [0, 2, 3])
    """
    size = max(1, -(-len(counts) // limit))
    joined = [sum(counts[start : start + size]) for start in range(0, len(counts), size)]
    return joined, [*edges[:-1:size], edges[-1]]


def show_image(source: Source) -> Any:
    """Show an image that Pillow can open."""
    import wandb
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source.body)) as picture:
            return wandb.Image(picture, caption=source.caption)
    except (Image.DecompressionBombError, Image.UnidentifiedImageError):
        return None  # above 178 million pixels, or damaged before it was logged


def show_plotly(source: Source) -> Any:
    """Show a plotly figure, if plotly is installed."""
    import wandb

    try:
        figure = read_figure(source.body)
    except ImportError:
        return None
    return wandb.Plotly(figure)


def show_pr_curve(source: Source) -> Any:
    """Show a chart of precision over recall, with its table."""
    import wandb

    curve = msgspec.json.decode(source.body, type=content.PrCurve)
    rows = [list(row) for row in zip(curve.recall, curve.precision, curve.thresholds, strict=True)]
    table = wandb.Table(columns=["recall", "precision", "threshold"], data=rows)
    return wandb.plot.line(table, "recall", "precision", title="precision over recall")


def show_graph(source: Source) -> Any:
    """Show the graph of a module."""
    import wandb
    from wandb.sdk.data_types.graph import Node

    shown = wandb.Graph()
    nodes: dict[str, Any] = {}
    for node in msgspec.json.decode(source.body, type=content.Graph).nodes:
        nodes[node.name] = Node(id=node.name, name=node.name, class_name=node.op, output_shape=node.shape or [])
        shown.add_node(nodes[node.name])
        for sender in node.inputs:
            if sender in nodes:
                shown.add_edge(nodes[sender], nodes[node.name])
    return shown


def show_embedding(source: Source) -> Any:
    """Show an embedding as a table that W&B's projector reads, with labels. None above `MAX_ROWS` vectors."""
    import numpy as np
    import wandb

    bodies = {file.path: source.read(file) for file in source.files}
    vectors = np.load(io.BytesIO(bodies["vectors.npy"]), allow_pickle=False)
    if len(vectors) > MAX_ROWS:
        return None
    # `splitlines` would split at other characters than the newline, too.
    labels = [line.split("\t") for line in bodies.get("metadata.tsv", b"").decode().split("\n")[:-1]]
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


def show_audio(source: Source) -> Any:
    """Show audio, in any format."""
    import wandb

    return wandb.Audio(str(source.path), caption=source.caption)


def show_video(source: Source) -> Any:
    """Show a video in one of W&B's formats."""
    import wandb

    path = source.path
    suffix = path.suffix.lower()
    return wandb.Video(str(path), caption=source.caption, format=suffix[1:]) if suffix in _VIDEO_SUFFIXES else None
