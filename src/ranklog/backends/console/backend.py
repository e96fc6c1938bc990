"""The console backend: lines for people, and files in ``<savedir>/<run_id>/``.

Metrics are lines in columns, at most one line per second and group of metrics (`lines`). Parameters are a block. An
item is a line with the path of its file, followed by the first lines of texts, alerts and tables. Control characters
are escaped. Values have five digits; the journal has the exact values, and those that a line omits.

A second delivery stores the same files. After a crash, the lines of the last batch may be printed twice. When the
terminal is gone, lines are dropped and files are still saved. Blocks for the terminal and the disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from ranklog.abc import Refused, RunContext
from ranklog.backends.console.items import FORMS, GROUPED, shortened, show_item
from ranklog.backends.console.lines import Line, Meaning, Part, Steps, plain
from ranklog.backends.console.paint import Painter
from ranklog.backends.shared.artifacts import ItemFiles
from ranklog.backends.shared.delivery_log import describe
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.trouble import trouble_of
from ranklog.model.record import Attempt, End, Entry, Event, Item, MetricInfo, Metrics, Params, Status
from ranklog.model.spec import Scalar


class ConsoleBackend:
    """Prints to the console of the run."""

    FORMS: ClassVar[dict[str, str]] = FORMS

    _context: RunContext
    _directory: Path
    _files: ItemFiles
    _painter: Painter

    def __init__(self) -> None:
        self._steps = Steps()
        self._reason = ""
        self._saved = False
        self._next = 0
        self._grouped: list[Item] = []

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Prepare the console and the folder for files, which is created with the first file."""
        self.__init__()  # type: ignore[misc]
        self._context = context
        self._directory = context.savedir / context.facts.run_id
        self._files = ItemFiles(context, self._directory)
        self._painter = Painter(context.console)
        for entry in earlier_entries(context):
            if isinstance(entry.record, Item):
                self._files.restore(entry.record)
                self._saved = True
            elif isinstance(entry.record, MetricInfo):
                self._steps.set_goal(entry.record)
        return {"run_id": context.facts.run_id, "directory": str(self._directory)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Print entries and save their files.

        Raises:
            Refused: the path of an item needs a folder where a file exists, or the other way round.
        """
        together: list[Metrics] = []
        refused: dict[int, str] = {}
        for entry in entries:
            if entry.ordinal < self._next:
                continue  # printed before other entries of its batch were refused
            if isinstance(entry.record, Metrics):
                together.append(entry.record)
                continue
            self._print_lines(self._steps.add(together))
            together = []
            if isinstance(entry.record, MetricInfo):
                self._steps.set_goal(entry.record)
                continue
            self._print_lines(self._steps.flush())
            if not isinstance(entry.record, Item) or entry.record.kind not in GROUPED:
                self._print_group()
            try:
                self._show(entry)
            except Refused as error:
                refused[entry.ordinal] = error.reason
            except Exception as error:
                if trouble_of(error) != "record":
                    raise
                refused[entry.ordinal] = describe(error)  # raising would print the lines of this batch twice
        self._print_lines(self._steps.add(together))
        self._print_group()
        self._next = entries[-1].ordinal + 1 if entries else self._next
        if refused:
            raise Refused.together(refused)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Print the steps that wait and the run's status; None prints no status."""
        self._print_lines(self._steps.flush())
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
                text = Part(f": {plain(record.text)}{_where(record)}")
                self._painter.line(record.time_ns, [Part(record.level, meaning), text])
            case End():
                self._reason = record.reason

    def _save(self, item: Item, ordinal: int) -> None:
        paths = self._files.store(item, ordinal)
        self._saved = True
        if item.kind in GROUPED:
            self._grouped.append(item)
            return
        shown = show_item(item, lambda: self._context.content(item.files[0]))
        rank = f"rank {item.rank}  " if item.rank else ""
        saved = f" saved: {plain(str(self._directory / paths[0][0]))}"
        head = [Part(f"step {item.step}", "step"), Part(f"  {rank}"), shown.title]
        self._painter.line(item.time_ns, [*head, Part(shown.about), Part(saved, "faint")], shown.body)

    def _print_group(self) -> None:
        """Print one line for the grouped items so far."""
        items, self._grouped = self._grouped, []
        if not items:
            return
        first = items[0]
        more = f" and {len(items) - 1} more" if len(items) > 1 else ""
        named = Part(f"  {first.kind} {plain(first.name)}{more}", "name")
        saved = Part(f" saved: {plain(str(self._directory))}", "faint")
        self._painter.line(first.time_ns, [Part(f"step {first.step}", "step"), named, saved])


def _aligned(values: dict[str, Scalar]) -> list[str]:
    width = min(max((len(name) for name in values), default=0), 40)
    return [f"{plain(name):<{width}}  {shortened(str(value))}" for name, value in values.items()]


def _where(event: Event) -> str:
    parts = [f"{word} {value}" for word, value in (("rank", event.rank), ("step", event.step)) if value is not None]
    return f" ({', '.join(parts)})" if parts else ""
