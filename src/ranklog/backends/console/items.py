"""Items as lines on the console. Pure.

Every kind is one line with its name and the path of its file. Some kinds add a few words or the first lines of their
content.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ranklog.backends.console.lines import Meaning, Part, number, plain
from ranklog.backends.shared.kinds import find_show
from ranklog.model import content
from ranklog.model.record import Item

FORMS = {
    "metric": "line",
    "param": "block",
    "text": "lines, file",
    "table": "first rows, file",
    "dataset": "line, file",
    "alert": "lines, file",
}
GROUPED = ("histogram",)
"""Kinds whose items share one line when they come together: a watched module logs one histogram per parameter."""
MAX_CHARS = 200
MAX_BODY_LINES = 8
MAX_CELL = 24


Read = Callable[[], bytes]


class Shown(msgspec.Struct, frozen=True):
    """The parts of an item's line.

    Attributes:
        title: Kind and name.
        about: A few words about the content.
        body: Lines below the item's line.
    """

    title: Part
    about: str = ""
    body: list[str] = []


def show_item(item: Item, read: Read) -> Shown:
    """Return the parts of an item's line; ``read`` returns the content of its first file."""
    show = find_show(SHOWS, item.kind, item.media)
    return show(item, read) if show else Shown(_title(item))


def shortened(text: str) -> str:
    """Return the beginning of a text without control characters."""
    shown = plain(text[:MAX_CHARS])
    return f"{shown}…" if len(text) > MAX_CHARS else shown


def _title(item: Item) -> Part:
    return Part(f"{item.kind} {plain(item.name)}", "name")


def _show_text(item: Item, read: Read) -> Shown:
    return Shown(_title(item), body=_text_lines(read()))


def _show_alert(item: Item, read: Read) -> Shown:
    level = str(item.meta.get("level"))
    meaning: Meaning = "good" if level == "info" else "bad"
    return Shown(Part(f"ALERT ({level}) {plain(item.name)}", meaning), body=_text_lines(read()))


def _show_table(item: Item, read: Read) -> Shown:
    return Shown(_title(item), body=_table_lines(msgspec.json.decode(read(), type=content.Table)))


def _show_dataset(item: Item, read: Read) -> Shown:
    facts = msgspec.json.decode(read(), type=content.Dataset)
    rows = f", {facts.rows} rows" if facts.rows is not None else ""
    return Shown(_title(item), f": {plain(facts.name)}, digest {plain(facts.digest)}{rows}")


def _show_reference(item: Item, read: Read) -> Shown:
    reference = msgspec.json.decode(read(), type=content.Reference)
    return Shown(_title(item), f", stays at {plain(reference.uri)},")


def _show_list(item: Item, read: Read) -> Shown:
    return Shown(_title(item), f", {len(item.files)} files")


SHOWS: dict[tuple[str, str], Callable[[Item, Read], Shown]] = {
    ("text", content.TEXT): _show_text,
    ("alert", content.TEXT): _show_alert,
    ("table", content.TABLE): _show_table,
    ("dataset", content.DATASET): _show_dataset,
    **{(kind, content.FOLDER): _show_list for kind in ("image", "figure", "audio", "video", "html")},
    **{(kind, content.REFERENCE): _show_reference for kind in ("artifact", "model", "best_model")},
}
"""The function that makes the parts of a line; other items show their kind and name only."""


def _text_lines(body: bytes) -> list[str]:
    lines = body.decode(errors="replace").splitlines()
    shown = [shortened(line) for line in lines[:MAX_BODY_LINES]]
    return [*shown, f"… {len(lines) - MAX_BODY_LINES} more lines"] if len(lines) > MAX_BODY_LINES else shown


def _table_lines(table: content.Table) -> list[str]:
    """Return the first rows of a table in columns."""
    rows = [[_cell(cell) for cell in row] for row in (table.columns, *table.data[:MAX_BODY_LINES])]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    lines = [
        shortened("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for row in rows
    ]
    left = len(table.data) - MAX_BODY_LINES
    return [*lines, f"… {left} more rows"] if left > 0 else lines


def _cell(cell: object) -> str:
    text = plain(number(cell) if isinstance(cell, float) else "" if cell is None else str(cell))
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"
