"""Items as MLflow's artifacts, images, datasets and logged models.

An artifact's path follows from its identifier (`ranklog.backends.shared.artifacts`); images lie where MLflow's image
view looks for them. Storing an item again gives the same result. Blocks for disk and network.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.mlflow.datasets import store_dataset
from ranklog.backends.mlflow.models import Latest, store_model
from ranklog.backends.mlflow.names import to_image_key, to_key
from ranklog.backends.mlflow.run import MAX_TAG_CHARS, SCRATCH, MlflowRun
from ranklog.backends.shared.artifacts import ArtifactPaths, safe_path
from ranklog.backends.shared.kinds import ANY_MEDIA, find_show
from ranklog.backends.shared.plotly_page import page_of, read_figure
from ranklog.model import content
from ranklog.model.content import PLOTLY, TABLE
from ranklog.model.record import File, Item
from ranklog.model.spec import Scalar

FORMS = {
    "metric": "metric",
    "param": "parameter",
    "table": "table",
    "image": "image",
    "figure": "PNG, or page and JSON",
    "dataset": "dataset of the run's inputs",
    "model": "logged model",
    "best_model": "logged model",
    "pr_curve": "JSON and page",
    "alert": "tag and text",
}
MODELS = ("model", "best_model")
_THUMBNAIL_PIXELS = 256


class ItemStore:
    """Stores the items of one MLflow run.

    Args:
        context: Reads the contents of files.
        run: The open run.

    Attributes:
        metrics_at_models: The newest value of each metric at each model that will be stored, by the model's ordinal.
    """

    def __init__(self, context: RunContext, run: MlflowRun) -> None:
        self._context = context
        self._run = run
        self._paths = ArtifactPaths()
        self.metrics_at_models: Mapping[int, Mapping[str, Latest]] = {}
        for left_by_a_kill in context.run_dir.glob(f"{SCRATCH}*"):
            shutil.rmtree(left_by_a_kill, ignore_errors=True)

    def restore(self, item: Item) -> None:
        """Restore an item that was stored before the run was opened."""
        self._paths.add(item)

    def store(self, item: Item, ordinal: int) -> None:
        """Store one item; ``ordinal`` is its number in the journal.

        Raises:
            Refused: the path needs a folder where a file exists, or the other way round.
        """
        show = find_show(SHOWS, item.kind, item.media) or ItemStore.store_files
        show(self, item, ordinal)

    def store_files(self, item: Item, ordinal: int) -> None:
        """Store the files of an item, with HTML pages for figures and curves."""
        paths = self._paths.paths_of(item)
        files = [file for path, each in paths for file in [*_placed(path, each), *_captions(path, each)]]
        for path, each in paths:  # an earlier item of another kind may have the same path
            if each.media in _FIGURES:
                files += self._pages(_placed(path, each), each.media)
        try:
            self.upload(files)
        except (FileExistsError, NotADirectoryError, IsADirectoryError, shutil.Error) as error:
            raise Refused(f"{item.kind} {item.name!r} cannot be stored: {error}", [ordinal]) from error
        if tables := [str(path) for path, each in paths if each.media == TABLE]:
            self._announce_tables(tables)
        self._paths.add(item)

    def store_alert(self, item: Item, ordinal: int) -> None:
        """Store the text of an alert as artifact and tag."""
        self.store_files(item, ordinal)
        text = self._context.content(item.files[0]).decode("utf-8", "replace")
        self._run.set_tags({to_key(f"ranklog.alert.{item.name}"): f"{item.meta.get('level')}: {text}"})

    def store_dataset(self, item: Item, ordinal: int) -> None:
        """Make a dataset an input of the run."""
        del ordinal  # MLflow identifies a dataset by its digest.
        store_dataset(self._run, item, self._context.content(item.files[0]))

    def store_model(self, item: Item, ordinal: int) -> None:
        """Store a logged model with the newest metrics before it."""
        store_model(self._context, self._run, item, ordinal, self.metrics_at_models.get(ordinal, {}))

    def upload(self, files: Iterable[File]) -> None:
        """Store files as artifacts of the run, at their paths."""
        # In the run directory, because the system's temporary directory may be small or full.
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self._context.run_dir) as folder:
            self._context.materialise(list(files), Path(folder))
            self._run.client.log_artifacts(self._run.backend_run_id, folder)

    def store_images(self, item: Item, ordinal: int) -> None:
        """Store an image, or each image of a list, as a series that MLflow's image view shows."""
        if item.media != content.FOLDER:
            self.upload(self._image_files(item.files[0], item.name, item, ordinal, item.meta.get("caption")))
        else:
            files: list[File] = []
            for index, file in enumerate(item.files):
                caption = item.meta.get(f"caption.{index}")
                files += self._image_files(file, f"{item.name}/{index}", item, ordinal, caption)
            self.upload(files)
        self._run.set_tags({"mlflow.loggedImages": "True"})

    def _image_files(self, file: File, name: str, item: Item, ordinal: int, caption: Scalar) -> list[File]:
        # MLflow has a random part here. Ours follows from the entry, so that a second delivery gives the same name.
        unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._context.facts.run_id}/{ordinal}")
        stem = f"images/{to_image_key(name)}+step+{item.step}+timestamp+{item.time_ns // 1_000_000}+{unique}"
        files = [msgspec.structs.replace(file, path=f"{stem}.png")]
        small = _thumbnail(self._context.content(file))
        if small:
            files.append(_file(f"{stem}+compressed.webp", small))
        if caption:
            files.append(_file(f"captions/{PurePosixPath(stem).name}.txt", str(caption).encode()))
        return files

    def _pages(self, files: list[File], media: str) -> list[File]:
        """Return HTML pages of plotly figures and curves, which MLflow's artifact view shows."""
        try:
            pages = [page_of(_FIGURES[media](self._context.content(file))) for file in files]
        except ImportError:  # plotly is not installed
            return []
        paths = (str(PurePosixPath(file.path).with_suffix(".html")) for file in files)
        return [_file(path, page) for path, page in zip(paths, pages, strict=True)]

    def _announce_tables(self, paths: list[str]) -> None:
        """List tables in the tag by which ``mlflow.load_table`` finds them, while the tag has room."""
        listed = json.loads(self._run.tags.get("mlflow.loggedArtifacts", "[]"))
        for path in paths:
            entry = {"path": path, "type": "table"}
            if entry not in listed and len(json.dumps([*listed, entry])) <= MAX_TAG_CHARS:
                listed.append(entry)
        self._run.set_tags({"mlflow.loggedArtifacts": json.dumps(listed)})


def _placed(path: PurePosixPath, item: Item) -> list[File]:
    if item.media == content.FOLDER:
        return [msgspec.structs.replace(file, path=str(path / safe_path(file.path))) for file in item.files]
    return [msgspec.structs.replace(item.files[0], path=str(path))]


def _captions(path: PurePosixPath, item: Item) -> list[File]:
    """Return captions as text files, because MLflow has no field for them."""
    captions = {path: item.meta.get("caption")}
    if item.media == content.FOLDER:
        captions |= {
            path / safe_path(each.path): item.meta.get(f"caption.{index}") for index, each in enumerate(item.files)
        }
    return [_file(f"captions/{at}.txt", str(text).encode()) for at, text in captions.items() if text]


def _file(path: str, content: bytes) -> File:
    return File(path, len(content), "", content)


def _curve(body: bytes) -> Any:
    """Return a plotly figure of precision over recall."""
    import plotly.graph_objects

    curve = msgspec.json.decode(body, type=content.PrCurve)
    texts = [f"threshold {threshold:g}" for threshold in curve.thresholds]
    line = plotly.graph_objects.Scatter(x=curve.recall, y=curve.precision, text=texts, mode="lines+markers")
    layout = {"xaxis": {"title": "recall", "range": [0, 1]}, "yaxis": {"title": "precision", "range": [0, 1.05]}}
    return plotly.graph_objects.Figure(data=[line], layout=layout)


_FIGURES = {PLOTLY: read_figure, content.PR_CURVE: _curve}
"""The function that makes a plotly figure of a content, by media type."""

SHOWS: dict[tuple[str, str], Callable[[ItemStore, Item, int], None]] = {
    ("image", ANY_MEDIA): ItemStore.store_images,
    ("dataset", content.DATASET): ItemStore.store_dataset,
    ("alert", content.TEXT): ItemStore.store_alert,
    **{(kind, ANY_MEDIA): ItemStore.store_model for kind in MODELS},
}
"""The function that stores a kind; other kinds are stored by `ItemStore.store_files`."""


def _thumbnail(png: bytes) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        return b""
    try:
        with Image.open(io.BytesIO(png)) as opened:
            # Pillow shows every value above 255 of a 16-bit image as white.
            deep = opened.mode.startswith("I")
            image = opened.convert("I").point(lambda value: value / 257.0).convert("L") if deep else opened
            image.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
            small = io.BytesIO()
            image.convert("RGBA" if "A" in image.getbands() else "RGB").save(small, format="WEBP")
    except (Image.DecompressionBombError, Image.UnidentifiedImageError, SyntaxError):
        return b""  # too large for Pillow, or damaged before it was logged: shown without a thumbnail
    return small.getvalue()
