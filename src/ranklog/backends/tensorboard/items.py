"""Items as TensorBoard's events.

An item that TensorBoard cannot show is stored below ``artifacts/``, and a text has its path. Rendering an item again
gives the same events and files. Blocks for the disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec

from ranklog.abc import RunContext
from ranklog.backends.shared.artifacts import ArtifactPaths, step_path
from ranklog.backends.shared.kinds import find_show
from ranklog.backends.tensorboard import events
from ranklog.backends.tensorboard.events import Moment
from ranklog.backends.tensorboard.projector import Projector
from ranklog.model import content
from ranklog.model.record import File, Item

HEAD_KINDS = ("graph",)
"""Kinds that the head file holds."""
_SUFFIXES = {"image": ".png", "figure": ".png", "audio": ".wav", "video": ".gif"}
"""Suffix of the files that TensorBoard shows, by kind."""
_MEDIA_EVENTS = {
    "image": events.image,
    "figure": events.image,
    "audio": events.audio,
    "video": events.animation,
}


class ItemRenderer:
    """Renders the items of one run.

    Args:
        context: Reads the contents of files.
        artifacts: Folder for items that TensorBoard cannot show, in the folder of the run.

    Attributes:
        graphs: Graphs by name.
    """

    def __init__(self, context: RunContext, artifacts: Path) -> None:
        self._context = context
        self._artifacts = artifacts
        self._paths = ArtifactPaths()
        self._projector = Projector(context, artifacts.parent)
        self.graphs: dict[str, content.Graph] = {}

    def restore(self, item: Item) -> None:
        """Restore an item that was rendered before."""
        if find_show(SHOWS, item.kind, item.media) is None:
            self._paths.add(item)
        elif restore := _RESTORES.get(item.kind):
            restore(self, item)

    def render(self, item: Item, tag: str) -> list[bytes]:
        """Return the events of an item."""
        show = find_show(SHOWS, item.kind, item.media) or ItemRenderer.store_files
        return show(self, item, tag)

    def store_files(self, item: Item, tag: str) -> list[bytes]:
        """Store the files of an item and return a text with their path."""
        paths = self._paths.paths_of(item)
        for path, each in paths:
            self._write(path, each)
        self._paths.add(item)
        return [events.text(tag, self._where(item, paths[0][0]), _moment(item))]

    def show_text(self, item: Item, tag: str) -> list[bytes]:
        """Return a text as Markdown."""
        return [events.text(tag, self._body(item).decode("utf-8", "replace"), _moment(item))]

    def show_alert(self, item: Item, tag: str) -> list[bytes]:
        """Return a text with the level of an alert."""
        text = self._body(item).decode("utf-8", "replace")
        return [events.text(tag, f"**{item.meta.get('level')}**: {text}", _moment(item))]

    def show_dict(self, item: Item, tag: str) -> list[bytes]:
        """Return JSON as a block of code."""
        return [events.text(tag, f"```json\n{msgspec.json.format(self._body(item).decode())}\n```", _moment(item))]

    def show_table(self, item: Item, tag: str) -> list[bytes]:
        """Return the first rows of a table."""
        table = msgspec.json.decode(self._body(item), type=content.Table)
        return [events.text(tag, events.table_markdown(table), _moment(item))]

    def show_dataset(self, item: Item, tag: str) -> list[bytes]:
        """Return a table with the facts of a dataset."""
        facts = msgspec.to_builtins(msgspec.json.decode(self._body(item), type=content.Dataset))
        text = events.facts_markdown({**facts, "context": item.meta.get("context")})
        return [events.text(tag, text, _moment(item))]

    def show_histogram(self, item: Item, tag: str) -> list[bytes]:
        """Return a histogram."""
        histogram = msgspec.json.decode(self._body(item), type=content.Histogram)
        return [events.histogram(tag, histogram, _moment(item))]

    def show_pr_curve(self, item: Item, tag: str) -> list[bytes]:
        """Return a precision-recall curve."""
        return [events.pr_curve(tag, msgspec.json.decode(self._body(item), type=content.PrCurve), _moment(item))]

    def show_media(self, item: Item, tag: str) -> list[bytes]:
        """Return an image, audio or video."""
        return [self._media(item, item.files[0], tag, "caption")]

    def show_list(self, item: Item, tag: str) -> list[bytes]:
        """Return each item of a list under the tag with its number, as TensorBoard's own summaries do."""
        rendered: list[bytes] = []
        for index, file in enumerate(item.files):
            suffix = PurePosixPath(file.path).suffix
            if suffix == _SUFFIXES[item.kind]:
                rendered.append(self._media(item, file, f"{tag}/{index}", f"caption.{index}"))
            else:
                single = msgspec.structs.replace(item, media=suffix, files=(file,))
                rendered += self.store_files(single, f"{tag}/{index}")
        return rendered

    def show_embedding(self, item: Item, tag: str) -> list[bytes]:
        """Write an embedding for the projector and return a text that names it."""
        self._projector.store(item)
        return [events.text(tag, f"embedding, in the projector as `{item.name}`", _moment(item))]

    def show_graph(self, item: Item, tag: str) -> list[bytes]:
        """Add a graph to those of the head file."""
        del tag
        self._add_graph(item)
        return []

    def _add_graph(self, item: Item) -> None:
        self.graphs[item.name] = msgspec.json.decode(self._body(item), type=content.Graph)

    def _restore_embedding(self, item: Item) -> None:
        self._projector.restore(item)

    def _body(self, item: Item) -> bytes:
        return self._context.content(item.files[0])

    def _media(self, item: Item, file: File, tag: str, caption: str) -> bytes:
        event = _MEDIA_EVENTS[item.kind]
        return event(tag, self._context.content(file), str(item.meta.get(caption) or ""), _moment(item))

    def _where(self, item: Item, latest: PurePosixPath) -> str:
        """Say in words where the files of an item are."""
        if item.media == content.REFERENCE:
            reference = msgspec.json.decode(self._body(item), type=content.Reference)
            size = sum(file.size for file in reference.files)
            return f"{item.kind}, {size} bytes, stays at `{reference.uri}` (seen from {reference.host})"
        size = sum(file.size for file in item.files)
        own = step_path(item, latest)
        return f"{item.kind}, {size} bytes: `artifacts/{latest}` (after other steps: `artifacts/{own}`)"

    def _write(self, path: PurePosixPath, item: Item) -> None:
        target = self._artifacts / path
        if item.media == content.FOLDER:
            if target.is_dir():
                shutil.rmtree(target)
            target.mkdir(parents=True, mode=0o700)
            self._context.materialise(item.files, target)
        else:
            renamed = msgspec.structs.replace(item.files[0], path=str(path))
            self._context.materialise([renamed], self._artifacts)


def _moment(item: Item) -> Moment:
    return Moment(item.step, item.time_ns)


SHOWS: dict[tuple[str, str], Callable[[ItemRenderer, Item, str], list[bytes]]] = {
    ("text", content.TEXT): ItemRenderer.show_text,
    ("alert", content.TEXT): ItemRenderer.show_alert,
    ("dict", content.JSON): ItemRenderer.show_dict,
    ("table", content.TABLE): ItemRenderer.show_table,
    ("dataset", content.DATASET): ItemRenderer.show_dataset,
    ("histogram", content.HISTOGRAM): ItemRenderer.show_histogram,
    ("pr_curve", content.PR_CURVE): ItemRenderer.show_pr_curve,
    ("image", content.PNG): ItemRenderer.show_media,
    ("figure", content.PNG): ItemRenderer.show_media,
    ("audio", content.WAV): ItemRenderer.show_media,
    ("video", content.GIF): ItemRenderer.show_media,
    **{(kind, content.FOLDER): ItemRenderer.show_list for kind in _SUFFIXES},
    ("embedding", content.FOLDER): ItemRenderer.show_embedding,
    ("graph", content.GRAPH): ItemRenderer.show_graph,
}
"""The function that renders a kind; other items are stored by `ItemRenderer.store_files`."""

_RESTORES: dict[str, Callable[[ItemRenderer, Item], None]] = {
    "embedding": ItemRenderer._restore_embedding,
    "graph": ItemRenderer._add_graph,
}
"""The function that restores the state of a kind that `SHOWS` has."""
