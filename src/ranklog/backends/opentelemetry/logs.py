"""What is no number, as OpenTelemetry's log records. Pure.

Each has a name (``event_name``, ``ranklog.…``), a severity, a body for people and attributes for machines, the time of
the call, and ``log.record.uid``, equal whenever the same record is sent again. An item that is kept as files is told
with its path.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import msgspec

from ranklog.backends.opentelemetry.points import Attributes
from ranklog.backends.shared.run_facts import Marks
from ranklog.model.facts import JobFacts, RankFacts, facts_of
from ranklog.model.record import Attempt, End, Event, Item, MetricInfo, Params, Record, Status
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord

MAX_TEXT_BYTES = 32 * 1024
_SEVERITIES = {"info": "INFO", "warning": "WARN", "error": "ERROR", "FINISHED": "INFO"}


class Said(msgspec.Struct, frozen=True):
    """A log record before it is made."""

    time_ns: int
    event: str
    level: str
    body: Any
    attributes: Attributes

    def record(self, uid: str, common: Attributes) -> LogRecord:
        """The record; ``uid`` tells it from all others of the receiver."""
        from opentelemetry._logs import LogRecord, SeverityNumber

        severity = _SEVERITIES.get(self.level, "ERROR")
        return LogRecord(
            timestamp=self.time_ns,
            observed_timestamp=self.time_ns,
            severity_text=severity,
            severity_number=SeverityNumber[severity],
            body=self.body,
            attributes={**common, **self.attributes, "log.record.uid": uid},
            event_name=f"ranklog.{self.event}",
        )


def say(record: Record) -> Said | None:
    """The log record of what is no metric and no item; None for others."""
    match record:
        case Attempt(host=host, place=place):
            own: Attributes = {"host.name": host, "ranklog.world_size": place.world_size}
            return Said(record.time_ns, "attempt", "info", f"attempt {record.attempt} on {host}", own)
        case Params(values=values):
            return Said(record.time_ns, "params", "info", {name: _fitting(value) for name, value in values.items()}, {})
        case MetricInfo(name=name, goal=goal, context=context):
            about = {"ranklog.name": name, "ranklog.goal": goal or "", "ranklog.context": context or ""}
            return Said(record.time_ns, "metric_info", "info", f"about the metric {name}", {**about})
        case Event(code=code, rank=rank, step=step):
            where = {"ranklog.code": code, "ranklog.rank": rank, "ranklog.step": step}
            told: Attributes = {name: value for name, value in where.items() if value is not None}
            return Said(record.time_ns, "event", record.level, record.text, told)
        case JobFacts():
            return Said(record.time_ns, "job", "info", dict(facts_of(record)), {})
        case RankFacts():
            return Said(record.time_ns, "rank", "info", str(record), {"ranklog.rank": record.rank})
        case End(status=status, reason=reason):
            return Said(record.time_ns, "end", status, reason or status, {"ranklog.status": status})
    return None


def say_item(item: Item, path: str | None, text: str | None) -> Said:
    """The log record of an item: its text where it is one, else where it lies."""
    own: Attributes = {
        "ranklog.kind": item.kind,
        "ranklog.name": item.name,
        "ranklog.step": item.step,
        "ranklog.rank": item.rank,
        "ranklog.media": item.media,
    }
    own |= {f"ranklog.{name}": fit for name, value in item.meta.items() if (fit := _fitting(value)) is not None}
    if path is not None:
        own["file.path"] = path
        own["host.name"] = socket.gethostname()
    level = str(item.meta.get("level", "info")) if item.kind == "alert" else "info"
    body = text if text is not None else f"{item.kind} {item.name} of step {item.step} is kept at {path}"
    event = item.kind if item.kind in ("text", "alert") else "item"
    return Said(item.time_ns, event, level, body, own)


def say_status(status: Status, run_id: str, marks: Marks, time_ns: int) -> Said:
    """The log record of a run's end."""
    own: Attributes = {"ranklog.status": status}
    own |= {name: fit for name, value in marks.facts().items() if (fit := _fitting(value)) is not None}
    return Said(time_ns, "status", status, f"run {run_id} {status}", own)


def _fitting(value: Scalar) -> Scalar:
    """A value that OpenTelemetry has a type for: its ints have 64 bits with the sign."""
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value
