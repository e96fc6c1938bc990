"""The OpenTelemetry backend: metrics and log records to an OTLP receiver over HTTP, files below ``savedir``.

Takes entries of the journal. Metrics become gauges (`opentelemetry_points`), everything else log records
(`opentelemetry_logs`); what OpenTelemetry has no form for is a file under ``<savedir>/<run_id>/artifacts/`` that a
log record names, and ``run.json`` beside that has what is known about the run, its parameters and its status.

Guarantees: nothing counts as delivered that the receiver did not take. A point that is sent again has the same
attributes, time and value, and a log record the same ``log.record.uid``: receivers that keep points by time show the
former once, those that know the uid the latter. What a receiver refuses for good, for example points that are too old
for it, is set aside with its reason, the rest goes on. Blocks for the network and the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from ranklog.abc import Refused, RunContext
from ranklog.backends.opentelemetry.logs import MAX_TEXT_BYTES, Said, say, say_item, say_status
from ranklog.backends.opentelemetry.points import Attributes, Points, run_attributes
from ranklog.backends.shared.history import earlier_entries
from ranklog.backends.shared.item_files import ItemFiles
from ranklog.backends.shared.run_facts import Marks
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.as_json import nonfinite_values_as_text
from ranklog.model.errors import MissingExtraError
from ranklog.model.record import Attempt, Entry, Item, MetricInfo, Metrics, RunFacts, Status

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from ranklog.backends.opentelemetry.sender import Sender

ARTIFACTS = "artifacts"
MAX_WEIGHT = 5000
"""Most points a request, of about 200 bytes each; a text counts for as many as it is long."""
_FILE = "file, log record"


class _Sent(msgspec.Struct, frozen=True):
    """An entry on its way: the attempt that it belongs to and what is said of it, or its metrics."""

    ordinal: int
    attempt: int
    record: Metrics | Said
    uid: str = ""

    @property
    def weight(self) -> int:
        """How much of a request it takes."""
        if isinstance(self.record, Metrics):
            return len(self.record.values) + 1
        return 1 + len(str(self.record.body)) // 200


_Send = Callable[[Sequence[_Sent]], None]


class OpenTelemetryBackend:
    """Sends to an OTLP receiver; see the module."""

    FORMS: ClassVar[dict[str, str]] = {
        "metric": "gauge",
        "param": "log record",
        "text": "log record",
        "alert": "log record",
        **dict.fromkeys(
            (
                *("dict", "table", "histogram", "image", "figure", "audio", "video", "html", "artifact", "dataset"),
                *("torch", "model", "best_model", "graph", "embedding", "pr_curve", "prov_documents"),
            ),
            _FILE,
        ),
    }

    _context: RunContext
    _folder: Path
    _files: ItemFiles
    _sender: Sender

    def __init__(self) -> None:
        self._attempt = 0
        self._marks = Marks()
        self._infos: dict[str, MetricInfo] = {}
        self._hosts: dict[int, str] = {}
        self._written = b""
        self._taken: set[int] = set()
        self._last_ns = 0

    def open(self, *, context: RunContext) -> dict[str, str]:
        """Make the exporters; the receiver is not asked yet.

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
        self._files = ItemFiles(context, self._folder / ARTIFACTS)
        for entry in earlier_entries(context):
            self._learn(entry)
            if isinstance(entry.record, Item) and self._is_kept(entry.record):
                self._files.learn(entry.record)
        self._attempt = self._marks.attempt
        self._write_facts("RUNNING")
        return {"run_id": context.facts.run_id, "url": self._sender.endpoint, "directory": str(self._folder)}

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        """Keep files, send points and log records.

        Raises:
            Refused: the receiver or the disk will never take some; the others are stored.
        """
        refused: dict[int, str] = {}
        points: list[_Sent] = []
        records: list[_Sent] = []
        attempt = self._attempt
        for entry in entries:
            self._learn(entry)
            if isinstance(entry.record, Attempt):
                attempt = entry.record.attempt
            if entry.ordinal in self._taken:
                continue
            if isinstance(entry.record, Metrics):
                points.append(_Sent(entry.ordinal, attempt, entry.record))
                continue
            try:
                said = self._keep(entry)
            except Refused as error:
                refused[entry.ordinal] = error.reason
                continue
            if said is not None:
                records.append(_Sent(entry.ordinal, attempt, said, self._uid(str(entry.ordinal))))
        self._write_facts("RUNNING")
        if self._sender.takes_metrics:
            for part in _requests(points):
                self._send(self._send_points, part, refused)
        if self._sender.takes_logs:
            for part in _requests(records):
                self._send(self._send_records, part, refused)
        if refused:
            raise Refused.together(refused)
        self._attempt = attempt
        self._taken.clear()

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        """Tell the status and close the connections; None tells nothing."""
        del timeout_s  # A request's own time limit bounds the one call.
        if status is not None:
            self._write_facts(status)
            if self._sender.takes_logs:
                said = say_status(status, self._context.facts.run_id, self._marks, self._last_ns)
                try:
                    self._send_records([_Sent(-1, self._attempt, said, self._uid(f"{self._attempt}/{status}"))])
                except Refused:
                    pass  # trying again would hold up the end for ever; run.json has it
        self._sender.close()

    def _learn(self, entry: Entry) -> None:
        self._marks.take(entry)
        self._last_ns = max(self._last_ns, entry.record.time_ns)
        if isinstance(entry.record, MetricInfo):
            self._infos[entry.record.name] = entry.record
        elif isinstance(entry.record, Attempt):
            self._hosts[entry.record.attempt] = entry.record.host

    def _is_kept(self, item: Item) -> bool:
        """Whether an item is kept as files: what a log record cannot hold, or none is sent."""
        small_text = item.kind in ("text", "alert") and item.files[0].size <= MAX_TEXT_BYTES
        return not (small_text and self._sender.takes_logs)

    def _keep(self, entry: Entry) -> Said | None:
        """Keep the files of an entry; what is to be said of it."""
        if not isinstance(entry.record, Item):
            return say(entry.record)
        item = entry.record
        path: str | None = None
        if self._is_kept(item):
            path = str(self._folder / ARTIFACTS / self._files.keep(item, entry.ordinal)[0][0])
        text: str | None = None
        if item.kind in ("text", "alert"):
            text = self._context.content(item.files[0])[:MAX_TEXT_BYTES].decode("utf-8", "replace")
        return say_item(item, path, text)

    def _send(self, send: _Send, sent: Sequence[_Sent], refused: dict[int, str]) -> None:
        """Send entries together; where they are refused, half by half, to find those that are and note why."""
        try:
            send(sent)
            self._taken.update(each.ordinal for each in sent)
        except Refused as error:
            if len(sent) == 1:
                refused[sent[0].ordinal] = error.reason
                return
            middle = len(sent) // 2
            self._send(send, sent[:middle], refused)
            self._send(send, sent[middle:], refused)

    def _send_points(self, sent: Sequence[_Sent]) -> None:
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics

        by_attempt: dict[int, Points] = {}
        for each in sent:
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

    def _send_records(self, sent: Sequence[_Sent]) -> None:
        from opentelemetry.sdk._logs import ReadableLogRecord

        scope = _scope(self._context.facts)
        resources = {each.attempt: self._resource(each.attempt) for each in sent}
        self._sender.send_logs(
            [
                ReadableLogRecord(
                    log_record=each.record.record(each.uid, self._common(each.attempt)),
                    resource=resources[each.attempt],
                    instrumentation_scope=scope,
                )
                for each in sent
                if isinstance(each.record, Said)
            ]
        )

    def _common(self, attempt: int) -> Attributes:
        return run_attributes(self._context.facts, attempt)

    def _uid(self, what: str) -> str:
        return f"{self._context.facts.run_id}/{self._context.facts.created_ns}/{what}"

    def _resource(self, attempt: int) -> Resource:
        """Who sends; ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` have the last word, as everywhere."""
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource

        facts, marks = self._context.facts, self._marks.facts()
        own: Attributes = {
            "service.name": "ranklog",
            "service.instance.id": facts.run_id,
            "ranklog.version": facts.ranklog_version,
        }
        if attempt in self._hosts:
            own["host.name"] = self._hosts[attempt]
        for name, value in marks.items():
            if name.endswith(".job") and isinstance(value, str):
                own |= {"ranklog.scheduler": name.removesuffix(".job"), "ranklog.job_id": value}
        if isinstance(commit := marks.get("ranklog.git.commit"), str):
            own["vcs.ref.head.revision"] = commit
        if isinstance(remote := marks.get("ranklog.git.remote"), str):
            own["vcs.repository.url.full"] = remote
        return Resource(own).merge(OTELResourceDetector().detect())

    def _write_facts(self, status: str) -> None:
        facts = self._context.facts
        told: dict[str, Any] = {"run_id": facts.run_id, "experiment": facts.experiment, "status": status}
        told |= {"params": nonfinite_values_as_text(self._marks.params), **self._marks.facts()}
        content = msgspec.json.format(msgspec.json.encode(told)) + b"\n"
        if content != self._written:
            write_private(self._folder / "run.json", content)
            self._written = content


def _scope(facts: RunFacts) -> Any:
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    return InstrumentationScope("ranklog", facts.ranklog_version)


def _requests(sent: Sequence[_Sent]) -> Iterator[Sequence[_Sent]]:
    """Parts of bounded weight, in order; what is heavier goes alone."""
    part: list[_Sent] = []
    weight = 0
    for each in sent:
        if part and weight + each.weight > MAX_WEIGHT:
            yield part
            part, weight = [], 0
        part.append(each)
        weight += each.weight
    if part:
        yield part
