"""Metrics as OpenTelemetry's gauges. Pure.

A value is a point of the gauge with its name, at the time of its call. Its attributes are ``ranklog.run_id``,
``ranklog.experiment`` and ``ranklog.attempt``; a reduced value also has ``ranklog.op``, and a series of one rank has
``ranklog.rank``. The step is no attribute, because each step would then be another series. Instead, the gauge
``ranklog.step`` has the step, with the same time, run and attempt. ``ranklog.coverage`` is the share of ranks that
answered, and ``ranklog.contributed`` the share of ranks that had a value. A value that corrects an earlier one is one
millisecond later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ranklog.backends.shared.names import digest, escape
from ranklog.model.record import MetricInfo, Metrics, RunFacts

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric

STEP, COVERAGE, CONTRIBUTED = "ranklog.step", "ranklog.coverage", "ranklog.contributed"
_MAX_NAME = 255
_REFUSED = re.compile(r"[^A-Za-z0-9_./\-]")
_RANK = re.compile(r"(.+)/rank_(\d{3,})")
"""Names that the reduction ``per_rank`` makes."""
Attributes = dict[str, str | int | float | bool]


def to_name(name: str) -> str:
    """Return a name that OpenTelemetry allows: at most 255 letters, digits and ``_ . - /``, beginning with a letter.

    Example:
        >>> to_name("val/loss"), to_name("loss[0]"), to_name("95%")
        ('val/loss', 'loss_x005B_0_x005D_', 'metric.95_x0025_')
    """
    safe = escape(name, _REFUSED)
    if not safe[:1].isalpha():
        safe = f"metric.{safe}"
    if len(safe) > _MAX_NAME:
        safe = f"{safe[:200]}.{digest(name)}"
    return safe


def run_attributes(facts: RunFacts, attempt: int) -> Attributes:
    """Return the attributes of every point and log record."""
    own: Attributes = {
        "ranklog.run_id": facts.run_id,
        "ranklog.experiment": facts.experiment,
        "ranklog.attempt": attempt,
    }
    return own | ({"ranklog.group": facts.group} if facts.group else {})


class Points:
    """The points of one request.

    Args:
        infos: Goals and contexts of metrics, by name.
    """

    def __init__(self, infos: dict[str, MetricInfo]) -> None:
        self._infos = infos
        self._points: dict[str, list[tuple[Attributes, int, float]]] = {}
        self._names: dict[str, str] = {}

    def add(self, record: Metrics, common: Attributes) -> None:
        """Add the values of a record."""
        time_ns = record.time_ns + (1_000_000 if record.corrects else 0)
        for logged, value in record.values.items():
            name, own = logged, dict(common)
            if record.op is not None:
                own["ranklog.op"] = record.op
            elif match := _RANK.fullmatch(logged):
                name, own["ranklog.rank"] = match[1], int(match[2])
            safe = to_name(name)
            if safe != name:
                own["ranklog.name"] = name
            self._add(safe, own, time_ns, value)
            self._names.setdefault(safe, name)
        self._add(STEP, common, time_ns, record.step)
        if record.coverage is not None and record.coverage.world_size:
            for name, share in zip((COVERAGE, CONTRIBUTED), record.coverage.share, strict=True):
                self._add(name, common, time_ns, share)

    def _add(self, name: str, attributes: Attributes, time_ns: int, value: float) -> None:
        self._points.setdefault(name, []).append((attributes, time_ns, value))

    def metrics(self) -> Iterable[Metric]:
        """Yield the gauges, each with its points in order."""
        from opentelemetry.sdk.metrics.export import Gauge, Metric, NumberDataPoint

        for name, points in self._points.items():
            data = [
                NumberDataPoint(attributes=own, start_time_unix_nano=0, time_unix_nano=time_ns, value=value)
                for own, time_ns, value in points
            ]
            yield Metric(name=name, description=self._description(name), unit="", data=Gauge(data_points=data))

    def _description(self, name: str) -> str:
        info = self._infos.get(self._names.get(name, name))
        if info is None:
            return ""
        goal = {"min": "smaller is better", "max": "larger is better"}.get(info.goal or "", "")
        return ", ".join(part for part in (goal, info.context and f"context {info.context}") if part)
