"""The CSV backend: one folder of plain files per run, ``<savedir>/<run_id>/``, readable by every tool.

Files that grow:

- ``metrics.csv``: one row per value (`rows.COLUMNS`), so a new metric is a new row and no file is rewritten;
- ``events.jsonl``: attempts, events, alerts and ends; ``items.jsonl``: the paths of items in ``artifacts/``.

Files that are written as a whole: ``params.json``; ``run.json`` with the run-level facts and the status; and, when
the run ends, ``metrics_wide.csv`` with one row per step.

Records that are delivered twice show once, also after a kill in the middle of a write. A lost or damaged file is
rebuilt from the journal: a progress file holds how far the others are whole. Points that a later attempt superseded
stay in ``metrics.csv`` with their attempt, and ``run.json`` lists them; the wide table omits them. Blocks for the
disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.csv.file import LineFile, Progress, load_progress, save_progress
from ranklog.backends.csv.items import EVENTS, FORMS, ITEMS, ItemStore
from ranklog.backends.csv.rows import COLUMNS, clock, event_line, metric_rows, to_csv, to_line
from ranklog.backends.csv.wide import MAX_VALUES, WideTable
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.run_facts import FactCollector
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.as_json import nonfinite_values_as_text
from ranklog.model.record import Attempt, End, Entry, Event, Item, Metrics, Status
from ranklog.model.spec import Scalar

METRICS = "metrics.csv"
_WIDE = "metrics_wide.csv"
_PROGRESS = ".ranklog.json"
_BUFFER_BYTES = 4 * 1024 * 1024


class CsvBackend:
    """Writes plain files. The module's docstring lists them."""

    FORMS: ClassVar[dict[str, str]] = FORMS

    _context: RunContext
    _folder: Path
    _files: dict[str, LineFile]
    _items: ItemStore

    def __init__(self) -> None:
        self._next = 0
        self._attempt = 0
        self._wide_too_large = False
        self._facts = FactCollector()
        self._written: dict[str, bytes] = {}

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Open the run's files, cut torn ends, and write what is missing."""
        self._context = context
        self._folder = context.savedir / context.facts.run_id
        make_private_dir(self._folder)
        self._items = ItemStore(context, self._folder)
        heads = {METRICS: to_csv([COLUMNS]), EVENTS: b"", ITEMS: b""}
        progress = load_progress(self._folder / _PROGRESS, context.facts.created_ns)
        self._files = {name: LineFile(self._folder / name, head) for name, head in heads.items()}
        kept = [file.keep(progress.sizes.get(name, -1)) for name, file in self._files.items()]
        if all(kept):
            self._next = progress.next_ordinal
        else:
            for file in self._files.values():
                file.keep(-1)
        try:
            self._take(earlier_entries(context))
        except Refused:
            pass  # The cursor has the reason from the first delivery.
        self._write_facts(None)
        return {"run_id": context.facts.run_id, "directory": str(self._folder)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries.

        Raises:
            Refused: the path of an item needs a folder where a file exists, or the other way round.
        """
        self._take(entries)
        self._write_facts(None)

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Write the status and the wide table; None leaves the run open."""
        del timeout_s  # Nothing here waits for others.
        try:
            if status is not None:
                self._write_wide()
                self._write_facts(status)
        finally:
            for file in self._files.values():
                file.close()

    def _take(self, entries: Iterable[Entry]) -> None:
        refused: dict[int, str] = {}
        lines: dict[str, bytearray] = {name: bytearray() for name in self._files}
        upto = self._next
        attempt = self._attempt
        for entry in entries:
            self._facts.add(entry)
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            if entry.ordinal < upto:
                if isinstance(entry.record, Item):
                    self._items.restore(entry.record)
                self._attempt = attempt
                continue
            try:
                for name, data in self._render(entry, attempt).items():
                    lines[name] += data
            except Refused as error:
                refused |= dict.fromkeys(error.ordinals, error.reason)
            upto = entry.ordinal + 1
            if sum(map(len, lines.values())) >= _BUFFER_BYTES:
                self._commit(lines, upto, attempt)
                lines = {name: bytearray() for name in self._files}
        self._commit(lines, upto, attempt)
        if refused:
            raise Refused.together(refused)

    def _render(self, entry: Entry, attempt: int) -> dict[str, bytes]:
        """Return the lines that an entry adds to each file. The files of an item are written here."""
        match entry.record:
            case Metrics() as metrics:
                return {METRICS: to_csv(metric_rows(metrics, attempt))}
            case Attempt() | Event() | End() as event:
                return {EVENTS: to_line(event_line(event, attempt))}
            case Item() as item:
                return self._items.store(item, entry.ordinal, attempt)
        return {}

    def _commit(self, lines: dict[str, bytearray], upto: int, attempt: int) -> None:
        """Append lines, then save the progress. After a kill in between, the next open cuts the lines."""
        if upto == self._next:
            return
        before = {name: file.size for name, file in self._files.items()}
        try:
            for name, data in lines.items():
                self._files[name].append(bytes(data))
            sizes = {name: file.size for name, file in self._files.items()}
            save_progress(self._folder / _PROGRESS, Progress(self._context.facts.created_ns, upto, sizes))
        except OSError:
            for name, file in self._files.items():
                file.size = before[name]  # the next try appends them again
            raise
        self._next, self._attempt = upto, attempt

    def _write_facts(self, status: Status | None) -> None:
        """Write the small files, if they changed. None means that the run is still running."""
        facts = self._context.facts
        values: dict[str, Scalar] = {
            "run_id": facts.run_id,
            "experiment": facts.experiment,
            "group": facts.group or None,
            "created": clock(facts.created_ns),
            "ranklog_version": facts.ranklog_version,
            "command": " ".join(facts.command),
            "status": status or "RUNNING",
        }
        if self._wide_too_large:
            values["metrics_wide"] = f"not written: more than {MAX_VALUES} values, use {METRICS}"
        self._write("run.json", values | self._facts.facts())
        self._write("params.json", nonfinite_values_as_text(self._facts.params))

    def _write(self, name: str, values: dict[str, Scalar]) -> None:
        content = msgspec.json.format(msgspec.json.encode(values)) + b"\n"
        if self._written.get(name) != content:
            write_private(self._folder / name, content)
            self._written[name] = content

    def _write_wide(self) -> None:
        wide = WideTable(self._facts.rewinds)
        attempt = 0
        for entry in earlier_entries(self._context, below=self._next):
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            elif isinstance(entry.record, Metrics):
                wide.add(entry.record, attempt)
        self._wide_too_large = wide.too_large
        if wide.too_large:
            (self._folder / _WIDE).unlink(missing_ok=True)
        else:
            write_private(self._folder / _WIDE, wide.csv())
