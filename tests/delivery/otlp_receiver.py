"""A stand-in for an OTLP receiver, since none can be installed here: takes OTLP/HTTP on 127.0.0.1, decodes it.

Requests are those of the SDK's own exporters and are decoded with opentelemetry-proto. Points are kept as stores of
series keep them: one a series and time. What real receivers refuse is played by `Receiver.answer`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

Attributes = dict[str, Any]
Answer = tuple[int, bytes]
ENDPOINTS = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/logs": ExportLogsServiceRequest}


class Receiver:
    """One receiver.

    Attributes:
        answer: Says, for a path and the decoded request, what to answer; None takes it.
        headers: Path and headers (names in small letters) of each request.
        points: By name, attributes and time.
        records: Log records with the attributes of their resource, as they came.
        resources: Attributes of the resource of each metric, by name.
        descriptions: Of each metric, by name.
    """

    def __init__(self) -> None:
        self.answer: Callable[[str, Any], Answer | None] = lambda path, request: None
        self.headers: list[tuple[str, dict[str, str]]] = []
        self.points: dict[tuple[str, tuple[tuple[str, Any], ...], int], float] = {}
        self.records: list[tuple[Any, Attributes]] = []
        self.resources: dict[str, Attributes] = {}
        self.descriptions: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ENDPOINTS[self.path].FromString(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.headers.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                status, body = receiver.answer(self.path, request) or (200, b"")
                if status == 200 and not body:
                    receiver.take(request)
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "30")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, request: Any) -> None:
        for resource in getattr(request, "resource_metrics", ()):
            for scope in resource.scope_metrics:
                assert scope.scope.name == "ranklog"
                for metric in scope.metrics:
                    self.resources[metric.name] = attributes(resource.resource)
                    self.descriptions[metric.name] = metric.description
                    for point in metric.gauge.data_points:
                        key = (metric.name, tuple(sorted(attributes(point).items())), point.time_unix_nano)
                        self.points[key] = getattr(point, point.WhichOneof("value"))
        for resource in getattr(request, "resource_logs", ()):
            own = attributes(resource.resource)
            self.records += [(record, own) for scope in resource.scope_logs for record in scope.log_records]

    def series(self, run_id: str, name: str) -> list[tuple[Attributes, int, float]]:
        """Points of a metric of a run: attributes, time and value, by time."""
        found = [(dict(own), time_ns, value) for (metric, own, time_ns), value in self.points.items() if metric == name]
        return sorted((each for each in found if each[0]["ranklog.run_id"] == run_id), key=lambda each: each[1])

    def said(self, run_id: str, event: str = "") -> list[tuple[str, Any, Attributes]]:
        """Severity, body and attributes of the log records of a run, also those that came twice."""
        return [
            (record.severity_text, value_of(record.body), attributes(record))
            for record, _ in self.records
            if attributes(record)["ranklog.run_id"] == run_id and (not event or record.event_name == f"ranklog.{event}")
        ]


@functools.cache
def shared() -> Receiver:
    """One receiver for all tests of a process."""
    return Receiver()


def rejecting(count: int, reason: str) -> Answer:
    """The answer of a receiver that took a request but for some points."""
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = count
    response.partial_success.error_message = reason
    return 200, response.SerializeToString()


def attributes(holder: Any) -> Attributes:
    return {each.key: value_of(each.value) for each in holder.attributes}


def value_of(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "kvlist_value":
        return {each.key: value_of(each.value) for each in value.kvlist_value.values}
    return getattr(value, which)
