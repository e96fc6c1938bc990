r"""Records as rows of CSV and lines of JSON. Pure.

Values read back exactly: ``repr`` of a float, or ``nan``, ``inf``, ``-inf``. Times are in UTC with microseconds. Names
with commas, quotes or newlines are quoted as in RFC 4180.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ranklog.model.as_json import to_json
from ranklog.model.record import Attempt, End, Event, Item, Metrics

COLUMNS = ("step", "time", "name", "value", "op", "answered", "contributed", "world_size", "attempt", "corrects")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_csv(rows: Iterable[Sequence[object]]) -> bytes:
    r"""Format rows as CSV.

    Example:
        >>> to_csv([["a,b", 0.1, None]])
        b'"a,b",0.1,\n'
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def clock(time_ns: int) -> str:
    """Format a time in UTC.

    Example:
        >>> clock(1_700_000_000_123_456_789)
        '2023-11-14T22:13:20.123456Z'
    """
    moment = _EPOCH + timedelta(microseconds=time_ns // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def metric_rows(record: Metrics, attempt: int) -> list[Sequence[object]]:
    """Return one row per value, in the order of `COLUMNS`."""
    coverage = record.coverage
    ranks = (coverage.answered, coverage.contributed, coverage.world_size) if coverage else (None, None, None)
    when, corrects = clock(record.time_ns), int(record.corrects)
    return [
        (record.step, when, name, repr(float(value)), record.op, *ranks, attempt, corrects)
        for name, value in record.values.items()
    ]


def event_line(record: Attempt | Event | End, attempt: int) -> dict[str, Any]:
    """Return a line of ``events.jsonl``."""
    line: dict[str, Any] = {"time": clock(record.time_ns), "attempt": attempt}
    match record:
        case Attempt(place=place, host=host):
            return {**line, "type": "attempt", "host": host, "world_size": place.world_size}
        case Event(level=level, code=code, text=text, rank=rank, step=step):
            return {**line, "type": "event", "level": level, "code": code, "text": text, "rank": rank, "step": step}
        case End(status=status, reason=reason):
            return {**line, "type": "end", "status": status, "reason": reason}


def alert_line(item: Item, text: str, attempt: int) -> dict[str, Any]:
    """Return a line of ``events.jsonl`` for an alert."""
    return {
        "time": clock(item.time_ns),
        "attempt": attempt,
        "type": "alert",
        "level": item.meta.get("level", "info"),
        "code": item.name,
        "text": text,
        "rank": item.rank,
        "step": item.step,
        "meta": item.meta,
    }


def item_line(item: Item, path: str, attempt: int) -> dict[str, Any]:
    """Return a line of ``items.jsonl``."""
    return {
        "time": clock(item.time_ns),
        "attempt": attempt,
        "step": item.step,
        "rank": item.rank,
        "kind": item.kind,
        "name": item.name,
        "media": item.media,
        "path": path,
        "meta": item.meta,
    }


def to_line(value: dict[str, Any]) -> bytes:
    """Format a line of JSON; `ranklog.model.as_json` spells NaN and infinities."""
    return to_json(value).encode() + b"\n"
