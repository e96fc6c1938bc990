"""Items in the folder of the CSV backend: files in ``artifacts/``, and lines that name them.

Every kind is stored as its files with a line of ``items.jsonl``. Tables and curves get a CSV file beside that. Alerts
are lines of ``events.jsonl``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from ranklog.abc import RunContext
from ranklog.backends.csv.rows import alert_line, item_line, to_csv, to_line
from ranklog.backends.shared.artifacts import ItemFiles, artifact_path
from ranklog.backends.shared.kinds import find_show
from ranklog.journal.layout import write_private
from ranklog.model.content import PR_CURVE, TABLE, TEXT, PrCurve, Table
from ranklog.model.record import Item

FORMS = {
    "metric": "row of metrics.csv",
    "param": "params.json",
    "table": "file, also CSV",
    "pr_curve": "file, also CSV",
    "alert": "line of events.jsonl",
}
ARTIFACTS = "artifacts"
EVENTS, ITEMS = "events.jsonl", "items.jsonl"


class ItemStore:
    """Stores the items of one run.

    Args:
        context: Reads the contents.
        folder: Folder of the run.
    """

    def __init__(self, context: RunContext, folder: Path) -> None:
        self._context = context
        self._artifacts = folder / ARTIFACTS
        self._files = ItemFiles(context, self._artifacts)

    def restore(self, item: Item) -> None:
        """Restore an item that an earlier process stored."""
        if find_show(SHOWS, item.kind, item.media) is not ItemStore.store_alert:
            self._files.restore(item)

    def store(self, item: Item, ordinal: int, attempt: int) -> dict[str, bytes]:
        """Store an item; returns the lines to append, by file name.

        Raises:
            Refused: the path needs a folder where a file exists, or the other way round.
        """
        show = find_show(SHOWS, item.kind, item.media) or ItemStore.store_files
        return show(self, item, ordinal, attempt)

    def store_files(self, item: Item, ordinal: int, attempt: int) -> dict[str, bytes]:
        """Store the files of an item."""
        for path, each in self._files.store(item, ordinal):
            if rows := find_show(_ROWS, each.kind, each.media):
                content = self._context.content(each.files[0])
                write_private(self._artifacts / path.with_name(f"{path.name}.csv"), to_csv(rows(content)))
        return {ITEMS: to_line(item_line(item, str(artifact_path(item, ARTIFACTS)), attempt))}

    def store_alert(self, item: Item, ordinal: int, attempt: int) -> dict[str, bytes]:
        """Return the line of an alert, which has no file."""
        del ordinal
        text = self._context.content(item.files[0]).decode("utf-8", "replace")
        return {EVENTS: to_line(alert_line(item, text, attempt))}


def _table_rows(content: bytes) -> Iterable[Sequence[object]]:
    table = msgspec.json.decode(content, type=Table)
    return [table.columns, *([_cell(value) for value in row] for row in table.data)]


def _curve_rows(content: bytes) -> Iterable[Sequence[object]]:
    curve = msgspec.structs.asdict(msgspec.json.decode(content, type=PrCurve))
    return [list(curve), *zip(*curve.values(), strict=True)]


def _cell(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list, bool)) else value


_ROWS: dict[tuple[str, str], Callable[[bytes], Iterable[Sequence[object]]]] = {
    ("table", TABLE): _table_rows,
    ("pr_curve", PR_CURVE): _curve_rows,
}
"""The function that makes rows of a content, for items that get a CSV file beside their own file."""

SHOWS: dict[tuple[str, str], Callable[[ItemStore, Item, int, int], dict[str, bytes]]] = {
    ("alert", TEXT): ItemStore.store_alert,
}
"""The function that stores a kind; other kinds are stored by `ItemStore.store_files`."""
