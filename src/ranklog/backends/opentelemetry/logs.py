"""Records other than metrics and items as OpenTelemetry's log records. Pure.

A log record has a name (``event_name``, ``ranklog.…``), a severity, a body for people, attributes for machines, the
time of the call, and a ``log.record.uid`` that stays the same when the record is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ranklog.backends.opentelemetry.points import Attributes
from ranklog.backends.shared.run_facts import FactCollector
from ranklog.model.facts import JobFacts, RankFacts, facts_of
from ranklog.model.record import Attempt, End, Event, MetricInfo, Params, Record, Status
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord

_SEVERITIES = {"info": "INFO", "warning": "WARN", "error": "ERROR", "FINISHED": "INFO"}


class Log(msgspec.Struct, frozen=True):
    """A log record, independent of the SDK."""

    time_ns: int
    event: str
    level: str
    body: Any
    attributes: Attributes

    def record(self, uid: str, common: Attributes) -> LogRecord:
        """Return the SDK's log record; ``uid`` is unique at the receiver."""
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


def log_of(record: Record) -> Log | None:
    """Return the log record of a record, or None for metrics and items."""
    match record:
        case Attempt(host=host, place=place):
            own: Attributes = {"host.name": host, "ranklog.world_size": place.world_size}
            return Log(record.time_ns, "attempt", "info", f"attempt {record.attempt} on {host}", own)
        case Params(values=values):
            return Log(record.time_ns, "params", "info", {name: fitting(value) for name, value in values.items()}, {})
        case MetricInfo(name=name, goal=goal, context=context):
            about = {"ranklog.name": name, "ranklog.goal": goal or "", "ranklog.context": context or ""}
            return Log(record.time_ns, "metric_info", "info", f"about the metric {name}", {**about})
        case Event(code=code, rank=rank, step=step):
            where = {"ranklog.code": code, "ranklog.rank": rank, "ranklog.step": step}
            own = {name: value for name, value in where.items() if value is not None}
            return Log(record.time_ns, "event", record.level, record.text, own)
        case JobFacts():
            return Log(record.time_ns, "job", "info", dict(facts_of(record)), {})
        case RankFacts():
            return Log(record.time_ns, "rank", "info", str(record), {"ranklog.rank": record.rank})
        case End(status=status, reason=reason):
            return Log(record.time_ns, "end", status, reason or status, {"ranklog.status": status})
    return None


def log_of_status(status: Status, run_id: str, facts: FactCollector, time_ns: int) -> Log:
    """Return the log record of a run's end."""
    own: Attributes = {"ranklog.status": status}
    own |= {name: fit for name, value in facts.facts().items() if (fit := fitting(value)) is not None}
    return Log(time_ns, "status", status, f"run {run_id} {status}", own)


def fitting(value: Scalar) -> Scalar:
    """Return a value with a type of OpenTelemetry, whose integers have 64 bits with the sign."""
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value
