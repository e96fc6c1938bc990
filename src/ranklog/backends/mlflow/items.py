"""Items as MLflow's artifacts.

Takes items in their canonical encoding. An artifact lies at the path that its identifier names (see
`ranklog.backends.shared.artifacts`); images lie where MLflow's own image view looks. Storing an item again gives the
same result. Blocks for disk and network.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.mlflow.names import to_image_key
from ranklog.backends.mlflow.run import MAX_TAG_CHARS, MlflowRun
from ranklog.backends.shared.artifacts import ArtifactPaths, safe_path
from ranklog.backends.shared.plotly_page import page_of, read_figure
from ranklog.model import content
from ranklog.model.content import PLOTLY, TABLE
from ranklog.model.record import File, Item
from ranklog.model.spec import Scalar

_THUMBNAIL_PIXELS = 256
SCRATCH = ".mlflow-"


class ItemStore:
    """Stores items as artifacts of one MLflow run.

    Args:
        context: Gives the contents of files.
        run: The open run.
        earlier: Items that were stored before, in order.
    """

    def __init__(self, context: RunContext, run: MlflowRun, earlier: Iterable[Item]) -> None:
        self._context = context
        self._run = run
        self._shelf = ArtifactPaths(earlier)
        for left_by_a_kill in context.run_dir.glob(f"{SCRATCH}*"):
            shutil.rmtree(left_by_a_kill, ignore_errors=True)

    def store(self, item: Item, ordinal: int) -> None:
        """Store one item; ``ordinal`` is its number in the journal.

        Raises:
            Refused: a file stands where the item needs a folder, or the other way round.
        """
        if item.kind == "image":
            self._store_images(item, ordinal)
            return
        places = self._shelf.places(item)
        files = [file for path, each in places for file in [*_placed(path, each), *_captions(path, each)]]
        for path, each in places:  # an item of another kind may have had the name before
            if each.media in _FIGURES:
                files += self._pages(_placed(path, each), each.media)
        try:
            self.upload(files)
        except (FileExistsError, NotADirectoryError, IsADirectoryError, shutil.Error) as error:
            raise Refused(f"{item.kind} {item.name!r} cannot be stored: {error}", [ordinal]) from error
        if tables := [str(path) for path, each in places if each.media == TABLE]:
            self._announce_tables(tables)
        self._shelf.keep(item)

    def upload(self, files: Iterable[File]) -> None:
        """Store files as artifacts of the run, at their paths."""
        # In the run directory, because the system's temporary directory may be small or full.
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self._context.run_dir) as folder:
            self._context.materialise(list(files), Path(folder))
            self._run.client.log_artifacts(self._run.run_id, folder)

    def _store_images(self, item: Item, ordinal: int) -> None:
        """An image, or a list of them, as series that MLflow's image view shows."""
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
        # The random part of the names that MLflow makes; here it follows from the entry.
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
        """Pages beside plotly's figures and beside curves, which MLflow's artifact view shows."""
        try:
            pages = [page_of(_FIGURES[media](self._context.content(file))) for file in files]
        except ImportError:  # of plotly
            return []
        paths = (str(PurePosixPath(file.path).with_suffix(".html")) for file in files)
        return [_file(path, page) for path, page in zip(paths, pages, strict=True)]

    def _announce_tables(self, paths: list[str]) -> None:
        """List tables in the tag by which ``mlflow.load_table`` finds them, as long as it has room."""
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
    """Captions as texts, for what MLflow has no field for them."""
    captions = {path: item.meta.get("caption")}
    if item.media == content.FOLDER:
        captions |= {
            path / safe_path(each.path): item.meta.get(f"caption.{index}") for index, each in enumerate(item.files)
        }
    return [_file(f"captions/{at}.txt", str(text).encode()) for at, text in captions.items() if text]


def _file(path: str, content: bytes) -> File:
    return File(path, len(content), "", content)


def _curve(body: bytes) -> Any:
    """A plotly figure of precision over recall."""
    import plotly.graph_objects

    curve = msgspec.json.decode(body, type=content.PrCurve)
    texts = [f"threshold {threshold:g}" for threshold in curve.thresholds]
    line = plotly.graph_objects.Scatter(x=curve.recall, y=curve.precision, text=texts, mode="lines+markers")
    layout = {"xaxis": {"title": "recall", "range": [0, 1]}, "yaxis": {"title": "precision", "range": [0, 1.05]}}
    return plotly.graph_objects.Figure(data=[line], layout=layout)


_FIGURES = {PLOTLY: read_figure, content.PR_CURVE: _curve}
"""Media that get a page beside them, with what makes a plotly figure of the content."""


def _thumbnail(png: bytes) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        return b""
    try:
        with Image.open(io.BytesIO(png)) as opened:
            # Of 16 bits Pillow would show as white all that is above 255.
            deep = opened.mode.startswith("I")
            image = opened.convert("I").point(lambda value: value / 257.0).convert("L") if deep else opened
            image.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
            small = io.BytesIO()
            image.convert("RGBA" if "A" in image.getbands() else "RGB").save(small, format="WEBP")
    except (Image.DecompressionBombError, Image.UnidentifiedImageError, SyntaxError):
        return b""  # larger than Pillow opens, or damaged before it was logged: shown without one
    return small.getvalue()
