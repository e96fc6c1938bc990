"""Items as Trackio shows them: media and tables in rows of the run, or artifacts with versions.

Takes items in their canonical encoding. Files of media lie where Trackio's dashboard looks, under names that follow
from the entry, so that storing an item again gives the same. What Trackio has no view for, or not for this size, is an
artifact; a dataset is one that the run used: its description, not its data. Blocks for the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.shared.artifacts import safe_path
from ranklog.backends.shared.escape import escape
from ranklog.backends.shared.plotly_page import page_of, read_figure
from ranklog.backends.trackio.store import TrackioStore, to_key
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

MAX_ROWS = 10_000
MAX_TEXT_BYTES = 1 << 20
_MEDIA = {"image": "image", "figure": "image", "audio": "audio", "video": "video", "html": "html"}
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]")
_FENCE = "```"


class Items:
    """Stores the items of one run.

    Args:
        context: Gives the contents of files.
        store: The run.
    """

    def __init__(self, context: RunContext, store: TrackioStore) -> None:
        self._context = context
        self._store = store

    def values(self, item: Item, ordinal: int) -> dict[str, Any]:
        """The item as values of a row; empty where it can only be an artifact."""
        if item.media == PLOTLY:
            page = _plotly(self._context.content(item.files[0]))
            return self._media(item, ordinal, [page], "html") if page else {}
        if item.kind in _MEDIA:
            return self._media(item, ordinal, item.files, _MEDIA[item.kind])
        show = _SHOWN.get((item.kind, item.media))
        shown = show(self._context.content(item.files[0])) if show else None
        return {} if shown is None else {to_key(item.name): shown}

    def store_artifact(self, item: Item, ordinal: int) -> None:
        """Store an item as an artifact.

        Raises:
            Refused: Trackio takes neither its name nor the name with its kind behind.
        """
        metadata: dict[str, Any] = {"name": item.name, "kind": item.kind, "step": item.step, "rank": item.rank}
        metadata |= item.meta
        manifest = [self._entry(file, item) for file in item.files]
        used = item.media == DATASET
        if used:
            dataset = msgspec.json.decode(self._context.content(item.files[0]), type=Dataset)
            metadata["dataset"] = msgspec.to_builtins(dataset)
        elif item.media == REFERENCE:
            manifest, told = _references(self._context.content(item.files[0]))
            metadata |= told
        aliases = [str(alias) for alias in (item.meta.get("alias"),) if alias and not _NO_NAME.search(str(alias))]
        if item.kind == "best_model":
            aliases.append("best")
        name = escape(item.name, _NO_NAME)
        try:
            self._store.artifact(name, item.kind, manifest, metadata, aliases, used=used)
        except ValueError:
            # An artifact has one type for good: the name is taken by another kind.
            try:
                self._store.artifact(f"{name}-{item.kind}", item.kind, manifest, metadata, aliases, used=used)
            except ValueError as error:
                raise Refused(f"{item.kind} {item.name!r} cannot be stored: {error}", [ordinal]) from error

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
        """An entry of a manifest; its content goes to the blobs, unless it is there."""
        place = f"{file.sha256[:2]}/{file.sha256}"
        if not (self._store.blobs / place).is_file():
            make_private_dir(self._store.blobs)
            self._context.materialise([msgspec.structs.replace(file, path=place)], self._store.blobs)
        path = safe_path(file.path) if item.media == FOLDER else safe_path(PurePosixPath(file.path).name)
        return {"path": str(path), "digest": file.sha256, "size": file.size}


def _references(content: bytes) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Files that stay where they are, as entries of a manifest."""
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
    return entries, {"uri": reference.uri, "host": reference.host}


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _plotly(content: bytes) -> File | None:
    """The page of a plotly figure; None where plotly is not installed."""
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

    # Trackio keeps rows as mappings, in which a second column of a name would hide the first.
    if len(data) > MAX_ROWS or len(set(columns)) < len(columns):
        return None
    return {"_type": TrackioTable.TYPE, "_value": TrackioTable(columns=columns, data=data).data}


def _histogram(content: bytes) -> Any:
    from trackio import Histogram as TrackioHistogram

    histogram = msgspec.json.decode(content, type=Histogram)
    return TrackioHistogram(np_histogram=(histogram.counts, histogram.edges))._to_dict()


_SHOWN: dict[tuple[str, str], Callable[[bytes], Any]] = {
    ("text", TEXT): _text,
    ("dict", JSON): _dict,
    ("table", TABLE): _table,
    ("pr_curve", PR_CURVE): _pr_curve,
    ("histogram", HISTOGRAM): _histogram,
}
