"""Runs as small tables of HTML for notebooks, with curves as SVG and without JavaScript. Pure.

Notebooks, nbconvert and GitHub keep plain tables and SVG. Everything that comes from a run is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ranklog.view.index.columns import Floats, Ints
from ranklog.view.metrics.table import MetricSummary
from ranklog.view.summary import RunStatus
from ranklog.view.units import number

CURVE_POINTS = 60
MOST_METRICS = 30
_WIDTH, _HEIGHT = 120, 24


class Curve(NamedTuple):
    """Sampled values of a metric: position on the axis, and value."""

    x: Ints
    value: Floats


class RunLine(NamedTuple):
    """One run in a list."""

    id: str
    experiment: str
    status: RunStatus
    attempts: int
    metrics: int


def run_html(line: RunLine, metrics: Sequence[MetricSummary], curves: Sequence[Curve]) -> str:
    """Return a table of a run's metrics, with one curve each."""
    rows = [
        (_text(each.name), *map(_number, (each.last, each.min, each.max)), f"{each.points:,}", sparkline(curve))
        for each, curve in zip(metrics, curves, strict=True)
    ]
    more = f"<p>and {line.metrics - len(rows):,} more metrics</p>" if line.metrics > len(rows) else ""
    attempts = f", attempt {line.attempts}" if line.attempts > 1 else ""
    head = f"<p><b>{_text(line.id)}</b> of {_text(line.experiment)}: {line.status}{attempts}</p>"
    return head + _table(("metric", "last", "min", "max", "points", ""), rows) + more


def runs_html(lines: Sequence[RunLine]) -> str:
    """Return a table with one row per run."""
    rows = [
        (_text(line.id), _text(line.experiment), line.status, str(line.attempts), f"{line.metrics:,}") for line in lines
    ]
    return _table(("run", "experiment", "status", "attempts", "metrics"), rows)


def sparkline(curve: Curve) -> str:
    """Return a small curve; values that are not finite leave a gap, and a lone value is a dot.

    Example:
        >>> sparkline(Curve(np.array([0, 1, 2]), np.array([1.0, np.nan, 3.0]))).count("<circle")
        2
    """
    finite = np.isfinite(curve.value)
    if not finite.any():
        return "no finite value"
    x = _scaled(curve.x.astype(np.float64), _WIDTH - 4) + 2
    y = np.full(len(x), np.nan)
    y[finite] = _HEIGHT - 2 - _scaled(curve.value[finite], _HEIGHT - 4)
    edges = np.flatnonzero(np.diff(finite.astype(np.int8))) + 1
    parts = [part for part in np.split(np.arange(len(x)), edges) if finite[part[0]]]
    drawn = "".join(_part(x[part], y[part]) for part in parts)
    low, high = curve.value[finite].min(), curve.value[finite].max()
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img"><title>from {_number(low)} to {_number(high)}</title>'
        f'<g fill="none" stroke="#0072b2" stroke-width="1.2">{drawn}</g></svg>'
    )


def _part(x: Floats, y: Floats) -> str:
    if len(x) == 1:
        return f'<circle cx="{x[0]:.1f}" cy="{y[0]:.1f}" r="1.5" fill="#0072b2" stroke="none"/>'
    points = " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(x.tolist(), y.tolist(), strict=True))
    return f'<polyline points="{points}"/>'


def _scaled(values: Floats, size: float) -> Floats:
    """Map values to 0 … size; equal ones to the middle."""
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = values.min() / 2, values.max() / 2  # halves, whose difference cannot overflow
        if high == low:
            return np.full(len(values), size / 2)
        scaled: Floats = (values / 2 - low) / (high - low) * size
        return scaled


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{each}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return html.escape(text)


def _number(value: float) -> str:
    return number(float(value))
