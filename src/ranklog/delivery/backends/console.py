"""The console backend: lines for people, and files beside them under ``<savedir>/<run_id>/``.

One line a step, with every metric of the step that was delivered together; below full coverage it says so.
Parameters are a block, items a line that says where their file is (texts are shown as well). Every line is plain
text: no colour, control characters escaped, what the terminal cannot spell written as an escape. A value is shown
with five digits; the journal has the exact one, and all of those that a long line leaves out.

Files are idempotent. After a crash the lines of the last batch may be printed twice, earlier ones are not. When the
terminal is gone, lines are given up and files are still saved. Blocks for the terminal and the disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ranklog.delivery.backends.base import Refused, RunContext
from ranklog.delivery.backends.files import DIRECTORY, Shelf
from ranklog.delivery.backends.history import earlier_entries
from ranklog.journal.layout import make_private_dir
from ranklog.model.record import Attempt, End, Entry, Event, Item, Metrics, Params, Status
from ranklog.model.spec import Scalar

MAX_VALUES = 24
MAX_CHARS = 200
MAX_TEXT_LINES = 8


class ConsoleBackend:
    """Prints to the console of the run; see the module."""

    _context: RunContext
    _directory: Path
    _shelf: Shelf

    def __init__(self) -> None:
        self._gone = False
        self._reason = ""
        self._saved = False

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Take the console and the folder for files, which is made when the first file comes."""
        self.__init__()  # type: ignore[misc]
        self._context = context
        self._directory = Path(str(context.spec.options["savedir"])) / context.facts.run_id
        earlier = [entry.record for entry in earlier_entries(context) if isinstance(entry.record, Item)]
        self._shelf = Shelf(earlier)
        self._saved = bool(earlier)
        return {"run_id": context.facts.run_id, "directory": str(self._directory)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Print entries and save their files.

        Raises:
            Refused: an item's file stands where another's folder is, or the other way round.
        """
        waiting: list[Metrics] = []
        refused: dict[int, str] = {}
        for entry in entries:
            if isinstance(entry.record, Metrics):
                waiting.append(entry.record)
                continue
            self._print_steps(waiting)
            waiting = []
            try:
                self._show(entry)
            except Refused as error:
                refused[entry.ordinal] = error.reason
        self._print_steps(waiting)
        if refused:
            raise Refused("; ".join(sorted(set(refused.values()))), sorted(refused))

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Print how the run ended; None prints nothing."""
        if status is None:
            return
        reason = f" ({plain(self._reason)})" if self._reason else ""
        files = f", files in {plain(str(self._directory))}" if self._saved else ""
        self._print(time.time_ns(), f"run {plain(self._context.facts.run_id)} {status}{reason}{files}")

    def _show(self, entry: Entry) -> None:
        record = entry.record
        match record:
            case Attempt(place=place):
                ranks = "1 rank" if place.world_size == 1 else f"{place.world_size} ranks"
                again = f", attempt {record.attempt}" if record.attempt else ""
                where = f"{ranks} ({plain(place.launcher)}) on {plain(record.host)}"
                self._print(record.time_ns, f"run {plain(record.run_id)}: {where}{again}")
            case Params():
                self._print(record.time_ns, "parameters", *_aligned(record.values))
            case Item():
                self._save(record, entry.ordinal)
            case Event():
                self._print(record.time_ns, f"{record.level}: {plain(record.text)}{_where(record)}")
            case End():
                self._reason = record.reason

    def _print_steps(self, records: Sequence[Metrics]) -> None:
        for line in join_steps(records):
            self._print(line[0].time_ns, step_text(line))

    def _save(self, item: Item, ordinal: int) -> None:
        places = self._shelf.places(item)
        make_private_dir(self._directory)
        try:
            for path, each in places:
                if each.media == DIRECTORY:
                    self._context.materialise(each.files, self._directory / path)
                else:
                    file = msgspec.structs.replace(each.files[0], path=str(path))
                    self._context.materialise([file], self._directory)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise Refused(f"{item.kind} {item.name!r} cannot be saved: {error}", [ordinal]) from error
        self._shelf.keep(item)
        self._saved = True
        rank = f"rank {item.rank}  " if item.rank else ""
        saved = plain(str(self._directory / places[0][0]))
        body = _text_lines(self._context.content(item.files[0])) if item.kind == "text" else ()
        self._print(item.time_ns, f"step {item.step}  {rank}{item.kind} {plain(item.name)} saved: {saved}", *body)

    def _print(self, time_ns: int, first: str, *more: str) -> None:
        if self._gone:
            return
        clock = time.strftime("%H:%M:%S", time.localtime(time_ns // 1_000_000_000))
        text = "\n".join((f"[{clock}] {first}", *(f"    {line}" for line in more), ""))
        console = self._context.console
        encoding = console.encoding or "utf-8"
        try:
            console.write(text.encode(encoding, "backslashreplace").decode(encoding))
            console.flush()
        except (OSError, ValueError):
            self._gone = True  # a terminal that was closed does not come back


def join_steps(records: Sequence[Metrics]) -> Iterator[list[Metrics]]:
    """Records that make one line: those of one step, unless a later one has a value of the same name."""
    lines: list[list[Metrics]] = []
    newest: dict[int, list[Metrics]] = {}
    for record in records:
        line = newest.get(record.step)
        if line is None or record.corrects or any(record.values.keys() & each.values.keys() for each in line):
            line = newest[record.step] = []
            lines.append(line)
        line.append(record)
    yield from lines


def step_text(records: Sequence[Metrics]) -> str:
    """One line for the metrics of a step.

    Example:
        >>> from ranklog.model.record import Coverage
        >>> two = Metrics(3, 0, -1, {"loss": 0.523142}, op="mean", coverage=Coverage(2, 2, 2))
        >>> step_text([two, Metrics(3, 0, -1, {"lr": 0.001})])
        'step 3  loss 0.52314  (mean over 2/2 ranks)  lr 0.001'
    """
    groups: dict[str, dict[str, float]] = {}
    for record in records:
        groups.setdefault(_behind(record), {}).update(record.values)
    corrected = " corrected" if any(record.corrects for record in records) else ""
    parts = [f"step {records[0].step}{corrected}"]
    room = MAX_VALUES
    for behind, values in groups.items():
        shown = list(values.items())[:room]
        room -= len(shown)
        parts += [f"{plain(name)} {number(value)}" for name, value in shown]
        if len(shown) < len(values):
            parts.append(f"… {len(values) - len(shown)} more")
        if behind:
            parts.append(behind)
    return "  ".join(parts)


def _behind(record: Metrics) -> str:
    """What stands behind reduced values: reduction and ranks; empty where they are one rank's own."""
    coverage = record.coverage
    if coverage is None or (coverage.world_size == 1 and coverage.full):
        return ""
    what = f"{record.op} over {coverage} ranks"
    if not coverage.full:
        return f"({what}, INCOMPLETE)"
    return f"({what}, {coverage.contributed} with a value)" if coverage.contributed < coverage.answered else f"({what})"


def number(value: float) -> str:
    """A value with five digits; whole numbers in full.

    Example:
        >>> [number(value) for value in (0.1234567, 1e-7, 100000.0, float("nan"))]
        ['0.12346', '1e-07', '100000', 'nan']
    """
    return f"{value:.0f}" if abs(value) < 1e15 and value == int(value) else f"{value:.5g}"


def plain(text: str) -> str:
    r"""Text without control characters.

    Example:
        >>> plain("a\x1b[31m")
        'a\\x1b[31m'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _aligned(values: dict[str, Scalar]) -> list[str]:
    width = min(max((len(name) for name in values), default=0), 40)
    return [f"{plain(name):<{width}}  {_short(str(value))}" for name, value in values.items()]


def _text_lines(content: bytes) -> list[str]:
    lines = content.decode(errors="replace").splitlines()
    shown = [_short(line) for line in lines[:MAX_TEXT_LINES]]
    return [*shown, f"… {len(lines) - MAX_TEXT_LINES} more lines"] if len(lines) > MAX_TEXT_LINES else shown


def _short(text: str) -> str:
    shown = plain(text[:MAX_CHARS])
    return f"{shown}…" if len(text) > MAX_CHARS else shown


def _where(event: Event) -> str:
    parts = [f"{word} {value}" for word, value in (("rank", event.rank), ("step", event.step)) if value is not None]
    return f" ({', '.join(parts)})" if parts else ""
