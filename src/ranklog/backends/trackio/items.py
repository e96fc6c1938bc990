"""Items in Trackio: media and tables in rows of the run, or artifacts with versions.

Media files lie where Trackio's dashboard looks for them. Their names follow from the entry, so storing an item again
gives the same files. Items that Trackio cannot show, or not in this size, are artifacts. A dataset is an artifact that
the run used; it contains the description and not the data. Blocks for the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.artifacts import safe_path
from ranklog.backends.shared.kinds import ANY_MEDIA, find_show
from ranklog.backends.shared.names import escape
from ranklog.backends.shared.plotly_page import page_of, read_figure
from ranklog.backends.trackio.store import TrackioStore, to_key, unique_id
from ranklog.journal.layout import make_private_dir
from ranklog.model.content import (
    DATASET,
    FOLDER,
    HISTOGRAM,
    JSON,
    PLOTLY,
    PR_CURVE,
    REFERENCE,
    TABLE,
    TEXT,
    Dataset,
    Histogram,
    PrCurve,
    Reference,
    Table,
)
from ranklog.model.record import File, Item

FORMS = {
    "metric": "metric",
    "param": "config",
    "text": "report",
    "dict": "report",
    "table": "table",
    "pr_curve": "table",
    "histogram": "histogram",
    "image": "image",
    "figure": "image, or HTML",
    "audio": "audio",
    "video": "video",
    "html": "HTML",
    "alert": "alert",
    "dataset": "artifact, used",
    **dict.fromkeys(("artifact", "torch", "model", "best_model", "graph", "embedding", "prov_documents"), "artifact"),
}
ALERT_LEVELS = {"warning": "warn"}
"""Levels with another name in Trackio."""
MAX_ROWS = 10_000
MAX_TEXT_BYTES = 1 << 20
_MEDIA_TYPES = {"image": "image", "figure": "image", "audio": "audio", "video": "video", "html": "html"}
_ALIASES = {"best_model": ("best",)}
_USED_BY_THE_RUN = ("dataset",)
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]")
_FENCE = "```"


Show = Callable[["ItemStore", Item, int], "dict[str, Any] | None"]


class ItemStore:
    """Stores the items of one run.

    Args:
        context: Reads the contents of files.
        store: The run.
    """

    def __init__(self, context: RunContext, store: TrackioStore) -> None:
        self._context = context
        self._store = store

    def store(self, item: Item, ordinal: int) -> dict[str, Any]:
        """Store an item; returns its values for a row, empty if it is an artifact or an alert.

        Raises:
            Refused: Trackio accepts neither its name nor the name followed by its kind.
        """
        show = find_show(SHOWS, item.kind, item.media)
        values = show(self, item, ordinal) if show else None
        if values is None:
            self.store_artifact(item, ordinal)
        return values or {}

    def show_alert(self, item: Item, ordinal: int) -> dict[str, Any]:
        """Store an alert, which has no row."""
        level = str(item.meta.get("level", "info"))
        self._store.alert(
            id=unique_id(self._context.facts, f"alerts/{ordinal}"),
            title=item.name,
            text=self.content(item).decode("utf-8", "replace"),
            level=ALERT_LEVELS.get(level, level),
            step=item.step,
            time_ns=item.time_ns,
        )
        return {}

    def show_media(self, item: Item, ordinal: int) -> dict[str, Any]:
        """Store media, or each of a list of media."""
        return self._media(item, ordinal, item.files, _MEDIA_TYPES[item.kind])

    def show_plotly(self, item: Item, ordinal: int) -> dict[str, Any] | None:
        """Store a plotly figure as HTML, if plotly is installed."""
        page = _plotly(self.content(item))
        return self._media(item, ordinal, [page], "html") if page else None

    def store_artifact(self, item: Item, ordinal: int) -> None:
        """Store an item as an artifact.

        Raises:
            Refused: Trackio accepts neither its name nor the name followed by its kind.
        """
        metadata: dict[str, Any] = {"name": item.name, "kind": item.kind, "step": item.step, "rank": item.rank}
        metadata |= item.meta
        describe = _DESCRIPTIONS.get(item.media)
        described = describe(self.content(item)) if describe else _Description()
        metadata |= described.metadata
        manifest = described.manifest or [self._entry(file, item) for file in item.files]
        used = item.kind in _USED_BY_THE_RUN
        aliases = [str(alias) for alias in (item.meta.get("alias"),) if alias and not _NO_NAME.search(str(alias))]
        aliases += _ALIASES.get(item.kind, ())
        name = escape(item.name, _NO_NAME)
        try:
            self._store.artifact(name, item.kind, manifest, metadata, aliases, used=used)
        except ValueError:
            # The type of an artifact cannot change, and the name belongs to another kind.
            try:
                self._store.artifact(f"{name}-{item.kind}", item.kind, manifest, metadata, aliases, used=used)
            except ValueError as error:
                raise Refused(f"{item.kind} {item.name!r} cannot be stored: {error}", [ordinal]) from error

    def content(self, item: Item) -> bytes:
        """Return the content of an item's first file."""
        return self._context.content(item.files[0])

    def _media(self, item: Item, ordinal: int, files: Sequence[File], type_: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for index, file in enumerate(files):
            several = item.media == FOLDER
            suffix = PurePosixPath(file.path).suffix.lower()
            path = f"{self._store.project}/{self._context.facts.run_id}/{item.step}/{ordinal}-{index}{suffix}"
            make_private_dir(self._store.media)
            self._context.materialise([msgspec.structs.replace(file, path=path)], self._store.media)
            caption = item.meta.get(f"caption.{index}" if several else "caption")
            values[to_key(f"{item.name}/{index}" if several else item.name)] = {
                "_type": f"trackio.{type_}",
                "file_path": path,
                "caption": None if caption is None else str(caption),
            }
        return values

    def _entry(self, file: File, item: Item) -> dict[str, Any]:
        """Return an entry of a manifest. Its content is copied to the blobs, unless it is there."""
        place = f"{file.sha256[:2]}/{file.sha256}"
        if not (self._store.blobs / place).is_file():
            make_private_dir(self._store.blobs)
            self._context.materialise([msgspec.structs.replace(file, path=place)], self._store.blobs)
        path = safe_path(file.path) if item.media == FOLDER else safe_path(PurePosixPath(file.path).name)
        return {"path": str(path), "digest": file.sha256, "size": file.size}


class _Description(msgspec.Struct, frozen=True):
    """Parts of an artifact that come from an item's content."""

    metadata: dict[str, Any] = {}
    manifest: list[dict[str, Any]] = []


def _describe_dataset(content: bytes) -> _Description:
    return _Description({"dataset": msgspec.to_builtins(msgspec.json.decode(content, type=Dataset))})


def _describe_reference(content: bytes) -> _Description:
    """Return files that stay where they are as entries of a manifest."""
    reference = msgspec.json.decode(content, type=Reference)
    base = reference.uri.rstrip("/")
    entries = [
        {
            "path": str(safe_path(file.path)),
            "digest": file.sha256,
            "size": file.size,
            "ref": f"{base}/{_quoted(file.path)}" if reference.is_folder else base,
        }
        for file in reference.files
    ]
    return _Description({"uri": reference.uri, "host": reference.host}, entries)


_DESCRIPTIONS: dict[str, Callable[[bytes], _Description]] = {
    DATASET: _describe_dataset,
    REFERENCE: _describe_reference,
}
"""The function that describes an artifact by its content, by media type."""


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _plotly(content: bytes) -> File | None:
    """Return a plotly figure as HTML, or None when plotly is not installed."""
    try:
        page = page_of(read_figure(content))
    except ImportError:
        return None
    return File("figure.html", len(page), "", page)


def _text(content: bytes) -> Any:
    from trackio import Markdown

    return Markdown(content.decode("utf-8", "replace"))._to_dict() if len(content) <= MAX_TEXT_BYTES else None


def _dict(content: bytes) -> Any:
    from trackio import Markdown

    if len(content) > MAX_TEXT_BYTES:
        return None
    text = msgspec.json.format(content, indent=2).decode()
    return Markdown(f"{_FENCE}json\n{text}\n{_FENCE}")._to_dict()


def _table(content: bytes) -> Any:
    table = msgspec.json.decode(content, type=Table)
    return _rows(table.columns, table.data)


def _pr_curve(content: bytes) -> Any:
    curve = msgspec.structs.asdict(msgspec.json.decode(content, type=PrCurve))
    return _rows(list(curve), [list(row) for row in zip(*curve.values(), strict=True)])


def _rows(columns: list[str], data: list[list[Any]]) -> Any:
    from trackio import Table as TrackioTable

    # Trackio stores rows as mappings, in which a second column with the same name would hide the first.
    if len(data) > MAX_ROWS or len(set(columns)) < len(columns):
        return None
    return {"_type": TrackioTable.TYPE, "_value": TrackioTable(columns=columns, data=data).data}


def _histogram(content: bytes) -> Any:
    from trackio import Histogram as TrackioHistogram

    histogram = msgspec.json.decode(content, type=Histogram)
    return TrackioHistogram(np_histogram=(histogram.counts, histogram.edges))._to_dict()


def _in_row(show: Callable[[bytes], Any]) -> Show:
    """Make a row of `SHOWS` from a function of the content."""

    def show_value(store: ItemStore, item: Item, ordinal: int) -> dict[str, Any] | None:
        value = show(store.content(item))
        return None if value is None else {to_key(item.name): value}

    return show_value


SHOWS: dict[tuple[str, str], Show] = {
    ("text", TEXT): _in_row(_text),
    ("dict", JSON): _in_row(_dict),
    ("table", TABLE): _in_row(_table),
    ("pr_curve", PR_CURVE): _in_row(_pr_curve),
    ("histogram", HISTOGRAM): _in_row(_histogram),
    ("figure", PLOTLY): ItemStore.show_plotly,
    ("alert", TEXT): ItemStore.show_alert,
    **{(kind, ANY_MEDIA): ItemStore.show_media for kind in _MEDIA_TYPES},
}
"""The function that returns values for a row. Other items, and those for which it returns None, are artifacts."""
