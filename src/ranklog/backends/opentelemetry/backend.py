"""The OpenTelemetry backend: metrics and log records to an OTLP receiver over HTTP, files below ``savedir``.

Metrics become gauges (`points`), all other records become log records (`logs`). An item that OpenTelemetry cannot
hold is stored as files in ``<savedir>/<run_id>/artifacts/``, and a log record has their path. ``run.json`` has the
run-level facts, the parameters and the status.

An entry counts as delivered when the receiver has accepted it. A point that is sent again has the same attributes,
time and value; a log record has the same ``log.record.uid``. Receivers that store points by time therefore show a
point once, and receivers that know the uid show a log record once. Entries that a receiver refuses permanently, such
as points that are too old, are set aside with the reason. Blocks for the network and the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.opentelemetry.items import FORMS, ItemStore
from ranklog.backends.opentelemetry.logs import Log, log_of, log_of_status
from ranklog.backends.opentelemetry.outgoing import Outgoing, in_requests, send_all
from ranklog.backends.opentelemetry.points import Attributes, Points, run_attributes
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.run_facts import FactCollector
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.as_json import nonfinite_values_as_text
from ranklog.model.errors import MissingExtraError
from ranklog.model.record import Attempt, Entry, Item, MetricInfo, Metrics, RunFacts, Status

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from ranklog.backends.opentelemetry.sender import Sender


class OpenTelemetryBackend:
    """Sends to an OTLP receiver."""

    FORMS: ClassVar[dict[str, str]] = FORMS

    _context: RunContext
    _folder: Path
    _items: ItemStore
    _sender: Sender

    def __init__(self) -> None:
        self._attempt = 0
        self._facts = FactCollector()
        self._infos: dict[str, MetricInfo] = {}
        self._hosts: dict[int, str] = {}
        self._written = b""
        self._accepted: set[int] = set()
        self._last_ns = 0

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Create the exporters, without a request to the receiver.

        Raises:
            MissingExtraError: the SDK or its exporter is not installed.
        """
        try:
            from ranklog.backends.opentelemetry.sender import Sender

            endpoint = context.spec.options.get("endpoint")
            self._sender = Sender(str(endpoint) if endpoint else None)
        except ImportError as error:
            raise MissingExtraError(
                "the OpenTelemetry backend needs its SDK: pip install 'ranklog[opentelemetry]'"
            ) from error
        self._context = context
        self._folder = context.savedir / context.facts.run_id
        make_private_dir(self._folder)
        self._items = ItemStore(context, self._folder, sends_logs=self._sender.takes_logs)
        for entry in earlier_entries(context):
            self._observe(entry)
            if isinstance(entry.record, Item):
                self._items.restore(entry.record)
        self._attempt = self._facts.attempt
        self._write_facts("RUNNING")
        return {"run_id": context.facts.run_id, "url": self._sender.endpoint, "directory": str(self._folder)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Store files, send points and log records.

        Raises:
            Refused: the receiver or the disk will never accept some entries; the others are stored.
        """
        refused: dict[int, str] = {}
        points: list[Outgoing] = []
        logs: list[Outgoing] = []
        attempt = self._attempt
        for entry in entries:
            self._observe(entry)
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            if entry.ordinal in self._accepted:
                continue
            if isinstance(entry.record, Metrics):
                points.append(Outgoing(entry.ordinal, attempt, entry.record))
                continue
            try:
                log = self._log_of(entry)
            except Refused as error:
                refused[entry.ordinal] = error.reason
                continue
            if log is not None:
                logs.append(Outgoing(entry.ordinal, attempt, log, self._uid(str(entry.ordinal))))
        self._write_facts("RUNNING")
        if self._sender.takes_metrics:
            for part in in_requests(points):
                send_all(self._send_points, part, self._accepted, refused)
        if self._sender.takes_logs:
            for part in in_requests(logs):
                send_all(self._send_logs, part, self._accepted, refused)
        if refused:
            raise Refused.together(refused)
        self._attempt = attempt
        self._accepted.clear()

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Send the status and close the connections; None sends nothing."""
        del timeout_s  # The one request has its own time limit.
        if status is not None:
            self._write_facts(status)
            if self._sender.takes_logs:
                log = log_of_status(status, self._context.facts.run_id, self._facts, self._last_ns)
                try:
                    self._send_logs([Outgoing(-1, self._attempt, log, self._uid(f"{self._attempt}/{status}"))])
                except Refused:
                    pass  # the receiver will never accept it; run.json has the status
        self._sender.close()

    def _observe(self, entry: Entry) -> None:
        self._facts.add(entry)
        self._last_ns = max(self._last_ns, entry.record.time_ns)
        if isinstance(entry.record, MetricInfo):
            self._infos[entry.record.name] = entry.record
        elif isinstance(entry.record, Attempt):
            self._hosts[entry.record.attempt] = entry.record.host

    def _log_of(self, entry: Entry) -> Log | None:
        """Return the log record of an entry. The files of an item are stored here."""
        if isinstance(entry.record, Item):
            return self._items.store(entry.record, entry.ordinal)
        return log_of(entry.record)

    def _send_points(self, outgoing: Sequence[Outgoing]) -> None:
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics

        by_attempt: dict[int, Points] = {}
        for each in outgoing:
            if isinstance(each.record, Metrics):
                collected = by_attempt.setdefault(each.attempt, Points(self._infos))
                collected.add(each.record, self._common(each.attempt))
        scope = _scope(self._context.facts)
        self._sender.send_metrics(
            MetricsData(
                [
                    ResourceMetrics(
                        resource=self._resource(attempt),
                        scope_metrics=[ScopeMetrics(scope=scope, metrics=list(found.metrics()), schema_url="")],
                        schema_url="",
                    )
                    for attempt, found in by_attempt.items()
                ]
            )
        )

    def _send_logs(self, outgoing: Sequence[Outgoing]) -> None:
        from opentelemetry.sdk._logs import ReadableLogRecord

        scope = _scope(self._context.facts)
        resources = {each.attempt: self._resource(each.attempt) for each in outgoing}
        self._sender.send_logs(
            [
                ReadableLogRecord(
                    log_record=each.record.record(each.uid, self._common(each.attempt)),
                    resource=resources[each.attempt],
                    instrumentation_scope=scope,
                )
                for each in outgoing
                if isinstance(each.record, Log)
            ]
        )

    def _common(self, attempt: int) -> Attributes:
        return run_attributes(self._context.facts, attempt)

    def _uid(self, part: str) -> str:
        return f"{self._context.facts.run_id}/{self._context.facts.created_ns}/{part}"

    def _resource(self, attempt: int) -> Resource:
        """Return the resource that sends. ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` take precedence."""
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource

        run, facts = self._context.facts, self._facts.facts()
        own: Attributes = {
            "service.name": "ranklog",
            "service.instance.id": run.run_id,
            "ranklog.version": run.ranklog_version,
        }
        if attempt in self._hosts:
            own["host.name"] = self._hosts[attempt]
        for name, value in facts.items():
            if name.endswith(".job") and isinstance(value, str):
                own |= {"ranklog.scheduler": name.removesuffix(".job"), "ranklog.job_id": value}
        if isinstance(commit := facts.get("ranklog.git.commit"), str):
            own["vcs.ref.head.revision"] = commit
        if isinstance(remote := facts.get("ranklog.git.remote"), str):
            own["vcs.repository.url.full"] = remote
        return Resource(own).merge(OTELResourceDetector().detect())

    def _write_facts(self, status: str) -> None:
        facts = self._context.facts
        values: dict[str, Any] = {"run_id": facts.run_id, "experiment": facts.experiment, "status": status}
        values |= {"params": nonfinite_values_as_text(self._facts.params), **self._facts.facts()}
        content = msgspec.json.format(msgspec.json.encode(values)) + b"\n"
        if content != self._written:
            write_private(self._folder / "run.json", content)
            self._written = content


def _scope(facts: RunFacts) -> Any:
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    return InstrumentationScope("ranklog", facts.ranklog_version)
