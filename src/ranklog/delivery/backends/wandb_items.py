"""Items as W&B's media in the history, or as W&B artifacts.

Takes items in their canonical encoding. Texts, tables, histograms, images and figures are shown natively, under the
item's name; everything else, and what W&B or this machine cannot show (a table above 10,000 rows, plotly not
installed), is an artifact, so that nothing is dropped. Contents of artifacts are hard links in the W&B run's own
directory where the file system has them: no second copy, nothing in the home directory.
"""

from __future__ import annotations

import html
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranklog.delivery.backends.base import Refused, RunContext
from ranklog.delivery.backends.wandb_names import to_artifact_name, to_media_column
from ranklog.journal.layout import blob_path, make_private_dir
from ranklog.model.record import File, Item

if TYPE_CHECKING:
    import wandb

MAX_BINS = 512
MAX_ROWS = 10_000
_MAX_KEY_BYTES = 120
_MAX_TABLE_KEY_BYTES = 50  # W&B makes an artifact of it, whose name begins with the run id and ends at 128
PLOTLY = "application/vnd.plotly.v1+json"
_TYPES = {"dict": "config", "table": "table", "model": "model", "best_model": "model"}


class ItemStore:
    """Stores items with one W&B run.

    Args:
        context: Gives the contents of files.
        run: The open run.
        folder: Where artifacts' files lie until they are uploaded.
    """

    def __init__(self, context: RunContext, run: wandb.Run, folder: Path) -> None:
        self._context = context
        self._run = run
        self._folder = folder

    def row(self, item: Item) -> dict[str, Any] | None:
        """The item as a row of the history; None where it can only be an artifact."""
        show = _NATIVE.get((item.kind, item.media))
        value = show(self._context.content(item.files[0]), item) if show else None
        if value is None:
            return None
        limit = _MAX_TABLE_KEY_BYTES if item.kind == "table" else _MAX_KEY_BYTES
        return {to_media_column(item.name, limit): value}

    def store_artifact(self, item: Item, ordinal: int) -> None:
        """Store an item as an artifact.

        Raises:
            Refused: a file of the item would lie outside its folder.
        """
        import wandb

        metadata = {"name": item.name, "kind": item.kind, "step": item.step, "rank": item.rank, **item.meta}
        artifact = wandb.Artifact(
            to_artifact_name(item.name), type=_TYPES.get(item.kind, "artifact"), metadata=metadata
        )
        for file in item.files:
            path = self._place(file, self._folder / str(ordinal), ordinal)
            artifact.add_file(str(path), name=file.path, policy="immutable", skip_cache=True)
        aliases = ["latest", "best"] if item.kind == "best_model" else ["latest"]
        self._run.log_artifact(artifact, aliases=aliases)

    def _place(self, file: File, folder: Path, ordinal: int) -> Path:
        target = (folder / file.path).resolve()
        if folder.resolve() not in target.parents:
            raise Refused(f"path {file.path!r} of an item leaves its directory", [ordinal])
        if file.data is None:
            make_private_dir(target.parent)
            try:
                target.unlink(missing_ok=True)
                os.link(blob_path(self._context.run_dir, file.sha256), target)
            except OSError:
                pass  # another file system, or one without links: copied below
            else:
                return target
        return self._context.materialise([file], folder)[0]


def _text(content: bytes, item: Item) -> Any:
    import wandb

    return wandb.Html(f"<pre>{html.escape(content.decode())}</pre>", data_is_not_path=True)


def _table(content: bytes, item: Item) -> Any:
    import wandb

    table = json.loads(content)
    if len(table["data"]) > MAX_ROWS:
        return None
    return wandb.Table(columns=table["columns"], data=table["data"], allow_mixed_types=True)


def _histogram(content: bytes, item: Item) -> Any:
    import wandb

    histogram = json.loads(content)
    return wandb.Histogram(np_histogram=merge_bins(histogram["counts"], histogram["edges"], MAX_BINS))


def merge_bins(counts: list[float], edges: list[float], limit: int) -> tuple[list[float], list[float]]:
    """Join neighbouring bins, equally many each, until there are at most ``limit``.

    Example:
        >>> merge_bins([1, 2, 3], [0, 1, 2, 3], 2)
        ([3, 3], [0, 2, 3])
    """
    size = max(1, -(-len(counts) // limit))
    joined = [sum(counts[start : start + size]) for start in range(0, len(counts), size)]
    return joined, [*edges[:-1:size], edges[-1]]


def _image(content: bytes, item: Item) -> Any:
    import wandb
    from PIL import Image

    caption = item.meta.get("caption")
    with Image.open(io.BytesIO(content)) as picture:
        return wandb.Image(picture, caption=None if caption is None else str(caption))


def _plotly(content: bytes, item: Item) -> Any:
    try:
        import plotly.io
    except ImportError:
        return None
    import wandb

    return wandb.Plotly(plotly.io.from_json(content.decode(), skip_invalid=True))


_NATIVE: dict[tuple[str, str], Callable[[bytes, Item], Any]] = {
    ("text", "text/plain; charset=utf-8"): _text,
    ("table", "application/vnd.ranklog.table+json"): _table,
    ("histogram", "application/vnd.ranklog.histogram+json"): _histogram,
    ("image", "image/png"): _image,
    ("figure", "image/png"): _image,
    ("figure", PLOTLY): _plotly,
}
