"""The CSV backend: one folder of plain files for a run, ``<savedir>/<run_id>/``, that every tool can read.

Takes entries of the journal, appends:

- ``metrics.csv``: a row a value (`csv_rows.COLUMNS`), so that a new name is a new row and nothing is rewritten;
- ``events.jsonl``: attempts, events, alerts, ends; ``items.jsonl``: what lies where in ``artifacts/``;

and writes as a whole: ``params.json``, ``run.json`` (what is known about the run, see `marks`, and its status), and at
the end ``metrics_wide.csv``, a row a step.

Guarantees: what is delivered again shows once, also after a kill in the middle of a write, and a lost or damaged file
is written anew from the journal: a note beside the files holds how far they are whole. Points that a later attempt
superseded stay in ``metrics.csv`` under their attempt, ``run.json`` says which; the wide table leaves them out. Blocks
for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.csv.file import LineFile, Progress, load_progress, save_progress
from ranklog.backends.csv.rows import (
    COLUMNS,
    alert_line,
    as_csv,
    clock,
    event_line,
    item_line,
    metric_rows,
    to_csv,
    to_line,
)
from ranklog.backends.csv.wide import MOST_VALUES, Wide
from ranklog.backends.shared.artifacts import artifact_path
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.item_files import ItemFiles
from ranklog.backends.shared.run_facts import Marks
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.as_json import nonfinite_values_as_text
from ranklog.model.record import Attempt, End, Entry, Event, Item, Metrics, Status
from ranklog.model.spec import Scalar

METRICS, EVENTS, ITEMS = "metrics.csv", "events.jsonl", "items.jsonl"
ARTIFACTS = "artifacts"
_WIDE = "metrics_wide.csv"
_PROGRESS = ".ranklog.json"
_BUFFER_BYTES = 4 * 1024 * 1024


class CsvBackend:
    """Writes plain files; see the module for what is where."""

    FORMS: ClassVar[dict[str, str]] = {
        "metric": "row of metrics.csv",
        "param": "params.json",
        "table": "file, also CSV",
        "pr_curve": "file, also CSV",
        "alert": "line of events.jsonl",
    }

    _context: RunContext
    _folder: Path
    _files: dict[str, LineFile]
    _items: ItemFiles

    def __init__(self) -> None:
        self._next = 0
        self._attempt = 0
        self._wide_left_out = False
        self._marks = Marks()
        self._written: dict[str, bytes] = {}

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Open the run's files, cut what a kill left behind, and write what is missing."""
        self._context = context
        self._folder = context.savedir / context.facts.run_id
        make_private_dir(self._folder)
        self._items = ItemFiles(context, self._folder / ARTIFACTS)
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
            pass  # The pump has it on record from the first time.
        self._write_facts(None)
        return {"run_id": context.facts.run_id, "directory": str(self._folder)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store entries.

        Raises:
            Refused: an item's file stands where another's folder is, or the other way round.
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
            self._marks.take(entry)
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            if entry.ordinal < upto:
                if isinstance(entry.record, Item) and entry.record.kind != "alert":
                    self._items.learn(entry.record)
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
        """What an entry adds to each file; an item's own files are written here."""
        match entry.record:
            case Metrics() as metrics:
                return {METRICS: to_csv(metric_rows(metrics, attempt))}
            case Attempt() | Event() | End() as said:
                return {EVENTS: to_line(event_line(said, attempt))}
            case Item(kind="alert") as alert:
                text = self._context.content(alert.files[0]).decode("utf-8", "replace")
                return {EVENTS: to_line(alert_line(alert, text, attempt))}
            case Item() as item:
                for path, each in self._items.keep(item, entry.ordinal):
                    self._write_csv(each, self._folder / ARTIFACTS / path)
                path = artifact_path(item, ARTIFACTS)
                return {ITEMS: to_line(item_line(item, str(path), attempt))}
        return {}

    def _write_csv(self, item: Item, path: Path) -> None:
        if item.kind in ("table", "pr_curve"):
            rows = as_csv(item.media, self._context.content(item.files[0]))
            if rows is not None:
                write_private(path.with_name(f"{path.name}.csv"), rows)

    def _commit(self, lines: dict[str, bytearray], upto: int, attempt: int) -> None:
        """Append, then note how far the files are: what a kill leaves in between is cut at the next open."""
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
                file.size = before[name]  # appended again at the next try
            raise
        self._next, self._attempt = upto, attempt

    def _write_facts(self, status: Status | None) -> None:
        """Write the files that are small, where they changed; None keeps the status that was told."""
        facts = self._context.facts
        told: dict[str, Scalar] = {
            "run_id": facts.run_id,
            "experiment": facts.experiment,
            "group": facts.group or None,
            "created": clock(facts.created_ns),
            "ranklog_version": facts.ranklog_version,
            "command": " ".join(facts.command),
            "status": status or "RUNNING",
        }
        if self._wide_left_out:
            told["metrics_wide"] = f"not written: more than {MOST_VALUES} values, use {METRICS}"
        self._write("run.json", told | self._marks.facts())
        self._write("params.json", nonfinite_values_as_text(self._marks.params))

    def _write(self, name: str, values: dict[str, Scalar]) -> None:
        content = msgspec.json.format(msgspec.json.encode(values)) + b"\n"
        if self._written.get(name) != content:
            write_private(self._folder / name, content)
            self._written[name] = content

    def _write_wide(self) -> None:
        wide = Wide(self._marks.rewinds)
        attempt = 0
        for entry in earlier_entries(msgspec.structs.replace(self._context, resumed_at=self._next)):
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            elif isinstance(entry.record, Metrics):
                wide.take(entry.record, attempt)
        self._wide_left_out = wide.too_large
        if wide.too_large:
            (self._folder / _WIDE).unlink(missing_ok=True)
        else:
            write_private(self._folder / _WIDE, wide.csv())
