r"""Records as rows of CSV and lines of JSON. Pure.

Values are written so that they read back exactly (``repr`` of a float; ``nan``, ``inf``, ``-inf``), times in UTC with
microseconds. A name with commas, quotes or a newline is quoted as RFC 4180 says.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from ranklog.model.as_json import to_json
from ranklog.model.content import PR_CURVE, TABLE, PrCurve, Table
from ranklog.model.record import Attempt, End, Event, Item, Metrics

COLUMNS = ("step", "time", "name", "value", "op", "answered", "contributed", "world_size", "attempt", "corrects")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_csv(rows: Iterable[Sequence[object]]) -> bytes:
    r"""Rows as CSV.

    Example:
        >>> to_csv([["a,b", 0.1, None]])
        b'"a,b",0.1,\n'
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def clock(time_ns: int) -> str:
    """A time in UTC.

    Example:
        >>> clock(1_700_000_000_123_456_789)
        '2023-11-14T22:13:20.123456Z'
    """
    moment = _EPOCH + timedelta(microseconds=time_ns // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def metric_rows(record: Metrics, attempt: int) -> list[Sequence[object]]:
    """A row for each value, in the order of `COLUMNS`."""
    coverage = record.coverage
    ranks = (coverage.answered, coverage.contributed, coverage.world_size) if coverage else (None, None, None)
    when, corrects = clock(record.time_ns), int(record.corrects)
    return [
        (record.step, when, name, repr(float(value)), record.op, *ranks, attempt, corrects)
        for name, value in record.values.items()
    ]


def event_line(record: Attempt | Event | End, attempt: int) -> dict[str, Any]:
    """A line of ``events.jsonl``."""
    line: dict[str, Any] = {"time": clock(record.time_ns), "attempt": attempt}
    match record:
        case Attempt(place=place, host=host):
            return {**line, "type": "attempt", "host": host, "world_size": place.world_size}
        case Event(level=level, code=code, text=text, rank=rank, step=step):
            return {**line, "type": "event", "level": level, "code": code, "text": text, "rank": rank, "step": step}
        case End(status=status, reason=reason):
            return {**line, "type": "end", "status": status, "reason": reason}


def alert_line(item: Item, text: str, attempt: int) -> dict[str, Any]:
    """A line of ``events.jsonl`` for an alert."""
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
    """A line of ``items.jsonl``."""
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
    """A line of JSON; NaN and infinities as `ranklog.model.as_json` has them."""
    return to_json(value).encode() + b"\n"


def as_csv(media: str, content: bytes) -> bytes | None:
    """The CSV form of a table or curve; None for what has none."""
    if media == TABLE:
        table = msgspec.json.decode(content, type=Table)
        return to_csv([table.columns, *([_cell(value) for value in row] for row in table.data)])
    if media == PR_CURVE:
        curve = msgspec.structs.asdict(msgspec.json.decode(content, type=PrCurve))
        return to_csv([list(curve), *zip(*curve.values(), strict=True)])
    return None


def _cell(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list, bool)) else value
