"""The console backend: lines for people, and files beside them under ``<savedir>/<run_id>/``.

Metrics are lines in columns, at most one a second for those that belong together (`console_lines`); parameters are
a block; items a line that says where their file is, and the first lines of texts, alerts and tables. Control
characters are escaped. A value is shown with five digits; the journal has the exact one, and all of those that a
line leaves out.

Files are idempotent. After a crash the lines of the last batch may be printed twice, earlier ones are not. When the
terminal is gone, lines are given up and files are still saved. Blocks for the terminal and the disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.console.lines import Line, Meaning, Part, Steps, number, plain
from ranklog.backends.console.paint import Painter
from ranklog.backends.shared.delivery_log import describe
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.item_files import ItemFiles
from ranklog.backends.shared.trouble import trouble_of
from ranklog.model import content
from ranklog.model.record import Attempt, End, Entry, Event, Item, MetricInfo, Metrics, Params, Status
from ranklog.model.spec import Scalar

MAX_CHARS = 200
MAX_BODY_LINES = 8
MAX_CELL = 24


class ConsoleBackend:
    """Prints to the console of the run; see the module."""

    FORMS: ClassVar[dict[str, str]] = {
        "metric": "line",
        "param": "block",
        "text": "lines, file",
        "table": "first rows, file",
        "dataset": "line, file",
        "alert": "lines, file",
    }

    _context: RunContext
    _directory: Path
    _files: ItemFiles
    _painter: Painter

    def __init__(self) -> None:
        self._steps = Steps()
        self._reason = ""
        self._saved = False
        self._next = 0
        self._histograms: list[Item] = []

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Take the console and the folder for files, which is made when the first file comes."""
        self.__init__()  # type: ignore[misc]
        self._context = context
        self._directory = context.savedir / context.facts.run_id
        self._files = ItemFiles(context, self._directory)
        self._painter = Painter(context.console)
        for entry in earlier_entries(context):
            if isinstance(entry.record, Item):
                self._files.learn(entry.record)
                self._saved = True
            elif isinstance(entry.record, MetricInfo):
                self._steps.set_goal(entry.record)
        return {"run_id": context.facts.run_id, "directory": str(self._directory)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Print entries and save their files.

        Raises:
            Refused: an item's file stands where another's folder is, or the other way round.
        """
        together: list[Metrics] = []
        refused: dict[int, str] = {}
        for entry in entries:
            if entry.ordinal < self._next:
                continue  # shown when others of its batch were refused
            if isinstance(entry.record, Metrics):
                together.append(entry.record)
                continue
            self._print_lines(self._steps.take(together))
            together = []
            if isinstance(entry.record, MetricInfo):
                self._steps.set_goal(entry.record)
                continue
            self._print_lines(self._steps.rest())
            if not isinstance(entry.record, Item) or entry.record.kind != "histogram":
                self._tell_histograms()
            try:
                self._show(entry)
            except Refused as error:
                refused[entry.ordinal] = error.reason
            except Exception as error:
                if trouble_of(error) != "record":
                    raise
                refused[entry.ordinal] = describe(error)  # here: lines that were printed cannot be taken back
        self._print_lines(self._steps.take(together))
        self._tell_histograms()
        self._next = entries[-1].ordinal + 1 if entries else self._next
        if refused:
            raise Refused.together(refused)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Print the steps that wait, and how the run ended; None prints no end."""
        self._print_lines(self._steps.rest())
        if status is None:
            return
        reason = f" ({plain(self._reason)})" if self._reason else ""
        files = f", files in {plain(str(self._directory))}" if self._saved else ""
        meaning: Meaning = "good" if status == "FINISHED" else "bad"
        run = Part(f"run {plain(self._context.facts.run_id)} ")
        self._painter.line(time.time_ns(), [run, Part(f"{status}{reason}", meaning), Part(files)])

    def _print_lines(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._painter.line(line.time_ns, line.parts)

    def _show(self, entry: Entry) -> None:
        record = entry.record
        match record:
            case Attempt(place=place):
                ranks = "1 rank" if place.world_size == 1 else f"{place.world_size} ranks"
                again = f", attempt {record.attempt}" if record.attempt else ""
                where = f"{ranks} ({plain(place.launcher)}) on {plain(record.host)}"
                self._painter.line(
                    record.time_ns, [Part(f"run {plain(record.run_id)}", "step"), Part(f": {where}{again}")]
                )
            case Params():
                self._painter.line(record.time_ns, [Part("parameters", "step")], _aligned(record.values))
            case Item():
                self._save(record, entry.ordinal)
            case Event():
                meaning: Meaning = "bad" if record.level == "warning" else "faint"
                said = Part(f": {plain(record.text)}{_where(record)}")
                self._painter.line(record.time_ns, [Part(record.level, meaning), said])
            case End():
                self._reason = record.reason

    def _save(self, item: Item, ordinal: int) -> None:
        places = self._files.keep(item, ordinal)
        self._saved = True
        if item.kind == "histogram":
            self._histograms.append(item)
            return
        rank = f"rank {item.rank}  " if item.rank else ""
        saved = plain(str(self._directory / places[0][0]))
        head = [Part(f"step {item.step}", "step"), Part(f"  {rank}")]
        if item.kind == "alert":
            level = str(item.meta.get("level"))
            head.append(Part(f"ALERT ({level}) {plain(item.name)}", "good" if level == "info" else "bad"))
        else:
            head.append(Part(f"{item.kind} {plain(item.name)}", "name"))
        self._painter.line(
            item.time_ns, [*head, Part(self._told(item)), Part(f" saved: {saved}", "faint")], self._body(item)
        )

    def _tell_histograms(self) -> None:
        """One line for those that come together: a watched module has one for each parameter."""
        told, self._histograms = self._histograms, []
        if not told:
            return
        first = told[0]
        more = f" and {len(told) - 1} more" if len(told) > 1 else ""
        named = Part(f"  histogram {plain(first.name)}{more}", "name")
        saved = Part(f" saved: {plain(str(self._directory))}", "faint")
        self._painter.line(first.time_ns, [Part(f"step {first.step}", "step"), named, saved])

    def _told(self, item: Item) -> str:
        """A few words about an item, where its file alone would say little."""
        if item.media == content.REFERENCE:
            reference = msgspec.json.decode(self._context.content(item.files[0]), type=content.Reference)
            return f", stays at {plain(reference.uri)},"
        if item.kind == "dataset" and item.media == content.DATASET:
            facts = msgspec.json.decode(self._context.content(item.files[0]), type=content.Dataset)
            rows = f", {facts.rows} rows" if facts.rows is not None else ""
            return f": {plain(facts.name)}, digest {plain(facts.digest)}{rows}"
        return f", {len(item.files)} of them" if item.media == content.FOLDER and item.kind not in _FOLDERS else ""

    def _body(self, item: Item) -> list[str]:
        if item.media == content.TEXT:
            return _text_lines(self._context.content(item.files[0]))
        if item.media == content.TABLE:
            return _table_lines(msgspec.json.decode(self._context.content(item.files[0]), type=content.Table))
        return []


_FOLDERS = ("artifact", "model", "best_model", "embedding")


def _aligned(values: dict[str, Scalar]) -> list[str]:
    width = min(max((len(name) for name in values), default=0), 40)
    return [f"{plain(name):<{width}}  {_short(str(value))}" for name, value in values.items()]


def _text_lines(body: bytes) -> list[str]:
    lines = body.decode(errors="replace").splitlines()
    shown = [_short(line) for line in lines[:MAX_BODY_LINES]]
    return [*shown, f"… {len(lines) - MAX_BODY_LINES} more lines"] if len(lines) > MAX_BODY_LINES else shown


def _table_lines(table: content.Table) -> list[str]:
    """The first rows of a table in columns."""
    rows = [[_cell(cell) for cell in row] for row in (table.columns, *table.data[:MAX_BODY_LINES])]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    lines = [
        _short("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()) for row in rows
    ]
    left = len(table.data) - MAX_BODY_LINES
    return [*lines, f"… {left} more rows"] if left > 0 else lines


def _cell(cell: object) -> str:
    text = plain(number(cell) if isinstance(cell, float) else "" if cell is None else str(cell))
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def _short(text: str) -> str:
    shown = plain(text[:MAX_CHARS])
    return f"{shown}…" if len(text) > MAX_CHARS else shown


def _where(event: Event) -> str:
    parts = [f"{word} {value}" for word, value in (("rank", event.rank), ("step", event.step)) if value is not None]
    return f" ({', '.join(parts)})" if parts else ""
