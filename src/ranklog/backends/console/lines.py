"""Metrics as lines for people; pure.

In: records in the order of the journal. Out: lines, each a list of parts with what they mean, for a painter to
colour. One line a step; lines with the same metrics stand in columns below each other, and come at most once a
second of the training's time: the newest step is shown with how many it stands for. Never left out are the last
step before something else is shown or the run is closed, values that are not finite, a new best of a metric with a
goal, partial coverage, and corrections.
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
    """Some text of a line, and what it means."""

    text: str
    meaning: Meaning = ""


class Line(msgspec.Struct, frozen=True):
    """One line: the time of the call, and its parts."""

    time_ns: int
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The line without colours."""
        return "".join(part.text for part in self.parts)


class _Step(msgspec.Struct):
    """Records that make one line."""

    records: list[Metrics]
    stands_for: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for record in self.records for name in record.values)

    @property
    def time_ns(self) -> int:
        return self.records[-1].time_ns


class _Columns(msgspec.Struct):
    """What is known of lines with the same metrics: the last that was shown, what waits, and how wide columns are."""

    shown_ns: int | None = None
    shown_step: int | None = None
    waiting: _Step | None = None
    widths: dict[str, int] = {}


class Steps:
    """Turns the metrics of one run into lines."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, ...], _Columns] = {}
        self._goals: dict[str, Literal["min", "max"]] = {}
        self._best: dict[str, float] = {}

    def set_goal(self, said: MetricInfo) -> None:
        """Note whether smaller or larger values of a metric are better."""
        if said.goal is not None:
            self._goals[said.name] = said.goal

    def take(self, records: Sequence[Metrics]) -> Iterator[Line]:
        """Lines for records that come together."""
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

    def rest(self) -> Iterator[Line]:
        """The steps that wait for their second to be over, since something else is shown now."""
        waiting = [each for each in self._columns.values() if each.waiting is not None]
        for columns in sorted(waiting, key=lambda each: each.waiting.time_ns if each.waiting else 0):
            yield from self._waiting(columns)

    def _waiting(self, columns: _Columns) -> Iterator[Line]:
        step, columns.waiting = columns.waiting, None
        if step is not None:
            yield self._line(step, columns, set())

    def _new_best(self, records: Sequence[Metrics]) -> set[str]:
        """Metrics whose best value came now; the first value of all is none."""
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
            groups.setdefault(_behind(record), {}).update(record.values)
        room = MAX_VALUES
        for behind, values in groups.items():
            shown = list(values.items())[:room]
            room -= len(shown)
            for name, value in shown:
                meaning: Meaning = "bad" if not math.isfinite(value) else "good" if name in best else ""
                parts += [Part(f"  {plain(name)} ", "name"), Part(wide(name, number(value)), meaning)]
                if name in best:
                    parts.append(Part("*", "good"))
            if len(shown) < len(values):
                parts.append(Part(f"  … {len(values) - len(shown)} more", "faint"))
            if behind:
                parts.append(Part(f"  {behind}", "bad" if "INCOMPLETE" in behind else "faint"))
        return Line(step.time_ns, tuple(parts))


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


def _is_remarkable(record: Metrics) -> bool:
    coverage = record.coverage
    partial = coverage is not None and not coverage.full
    return record.corrects or partial or not all(map(math.isfinite, record.values.values()))


def _behind(record: Metrics) -> str:
    """What stands behind reduced values: reduction and ranks; empty where they are one rank's own."""
    coverage = record.coverage
    if coverage is None or (coverage.world_size == 1 and coverage.full):
        return ""
    what = f"{record.op} over {coverage} ranks" if coverage.all_contributed else f"{record.op}, {coverage}"
    return f"({what})" if coverage.full else f"({what}, INCOMPLETE)"


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
