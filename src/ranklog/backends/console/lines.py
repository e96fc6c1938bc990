"""Metrics as lines for people. Pure.

Takes records in the order of the journal and returns lines. A line is a list of parts with a meaning, which a `Painter`
colours. Each step is one line, and lines with the same metrics have the same columns. There is at most one such line
per second of training time: the newest step, with the number of steps that it stands for.

These steps always have a line: the last one before other output or the end of the run, and those with values that are
not finite, a new best value of a metric with a goal, partial coverage, or corrections.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from ranklog.model.record import MetricInfo, Metrics

EVERY_NS = 1_000_000_000
MAX_VALUES = 24

Meaning = Literal["", "step", "name", "good", "bad", "faint"]


class Part(msgspec.Struct, frozen=True):
    """A part of a line and its meaning."""

    text: str
    meaning: Meaning = ""


class Line(msgspec.Struct, frozen=True):
    """One line: the time of the call and the parts."""

    time_ns: int
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text of the line without colours."""
        return "".join(part.text for part in self.parts)


class _Step(msgspec.Struct):
    """The records of one line."""

    records: list[Metrics]
    stands_for: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for record in self.records for name in record.values)

    @property
    def time_ns(self) -> int:
        return self.records[-1].time_ns


class _Columns(msgspec.Struct):
    """Lines with the same metrics: the last one shown, the step that waits, and the widths of the columns."""

    shown_ns: int | None = None
    shown_step: int | None = None
    waiting: _Step | None = None
    widths: dict[str, int] = {}


class Steps:
    """The lines of one run's metrics."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, ...], _Columns] = {}
        self._goals: dict[str, Literal["min", "max"]] = {}
        self._best: dict[str, float] = {}

    def set_goal(self, info: MetricInfo) -> None:
        """Set whether smaller or larger values of a metric are better."""
        if info.goal is not None:
            self._goals[info.name] = info.goal

    def add(self, records: Sequence[Metrics]) -> Iterator[Line]:
        """Add records that come together and yield the lines that are due."""
        for joined in join_steps(records):
            step = _Step(joined)
            columns = self._columns.setdefault(step.names, _Columns())
            best = self._new_best(joined)
            step_number = joined[0].step
            if columns.waiting is not None and columns.waiting.records[0].step != step_number:
                step.stands_for += columns.waiting.stands_for
                columns.waiting = None
            due = columns.shown_ns is None or step.time_ns - columns.shown_ns >= EVERY_NS
            if columns.waiting is not None or columns.shown_step == step_number:
                yield from self._waiting(columns)
                due = True
            if due or best or any(_is_remarkable(record) for record in joined):
                yield self._line(step, columns, best)
            else:
                columns.waiting = step

    def flush(self) -> Iterator[Line]:
        """Yield the lines of steps that wait for the end of their second."""
        waiting = [each for each in self._columns.values() if each.waiting is not None]
        for columns in sorted(waiting, key=lambda each: each.waiting.time_ns if each.waiting else 0):
            yield from self._waiting(columns)

    def _waiting(self, columns: _Columns) -> Iterator[Line]:
        step, columns.waiting = columns.waiting, None
        if step is not None:
            yield self._line(step, columns, set())

    def _new_best(self, records: Sequence[Metrics]) -> set[str]:
        """Return the metrics with a new best value. The first value of a metric does not count."""
        found: set[str] = set()
        for record in records:
            for name in self._goals.keys() & record.values.keys():
                value, best = record.values[name], self._best.get(name)
                if not math.isfinite(value):
                    continue
                if best is None or (value < best if self._goals[name] == "min" else value > best):
                    self._best[name] = value
                    if best is not None:
                        found.add(name)
        return found

    def _line(self, step: _Step, columns: _Columns, best: set[str]) -> Line:
        columns.shown_ns = step.time_ns
        columns.shown_step = step.records[0].step

        def wide(key: str, text: str) -> str:
            width = max(len(text), columns.widths.get(key, 0))
            columns.widths[key] = width
            return text.rjust(width)

        corrected = " corrected" if any(record.corrects for record in step.records) else ""
        parts = [Part(f"step {wide('', str(step.records[0].step))}{corrected}", "step")]
        if step.stands_for > 1:
            parts.append(Part(f" (+{step.stands_for - 1})", "faint"))
        groups: dict[str, dict[str, float]] = {}
        for record in step.records:
            groups.setdefault(_origin(record), {}).update(record.values)
        room = MAX_VALUES
        for origin, values in groups.items():
            shown = list(values.items())[:room]
            room -= len(shown)
            for name, value in shown:
                meaning: Meaning = "bad" if not math.isfinite(value) else "good" if name in best else ""
                parts += [Part(f"  {plain(name)} ", "name"), Part(wide(name, number(value)), meaning)]
                if name in best:
                    parts.append(Part("*", "good"))
            if len(shown) < len(values):
                parts.append(Part(f"  … {len(values) - len(shown)} more", "faint"))
            if origin:
                parts.append(Part(f"  {origin}", "bad" if "INCOMPLETE" in origin else "faint"))
        return Line(step.time_ns, tuple(parts))


def join_steps(records: Sequence[Metrics]) -> Iterator[list[Metrics]]:
    """Yield the records of each line: those of one step, unless a later one has the same metric again."""
    lines: list[list[Metrics]] = []
    newest: dict[int, list[Metrics]] = {}
    for record in records:
        line = newest.get(record.step)
        if line is None or record.corrects or any(record.values.keys() & each.values.keys() for each in line):
            line = newest[record.step] = []
            lines.append(line)
        line.append(record)
    yield from lines


def _is_remarkable(record: Metrics) -> bool:
    coverage = record.coverage
    partial = coverage is not None and not coverage.full
    return record.corrects or partial or not all(map(math.isfinite, record.values.values()))


def _origin(record: Metrics) -> str:
    """Return the reduction and ranks of reduced values, or nothing for the values of one rank."""
    coverage = record.coverage
    if coverage is None or (coverage.world_size == 1 and coverage.full):
        return ""
    text = f"{record.op} over {coverage} ranks" if coverage.all_contributed else f"{record.op}, {coverage}"
    return f"({text})" if coverage.full else f"({text}, INCOMPLETE)"


def number(value: float) -> str:
    """Format a value with five digits. Whole numbers have all digits.

    Example:
        >>> [number(value) for value in (0.1234567, 1e-7, 100000.0, float("nan"))]
        ['0.12346', '1e-07', '100000', 'nan']
    """
    return f"{value:.0f}" if abs(value) < 1e15 and value == int(value) else f"{value:.5g}"


def plain(text: str) -> str:
    r"""Escape control characters in a text.

    Example:
        >>> plain("a\x1b[31m")
        'a\\x1b[31m'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
