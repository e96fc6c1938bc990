"""Requests to an OTLP receiver over HTTP, with the exporters of OpenTelemetry's SDK.

The exporters hide the receiver's answer; `Sender` raises it as an error. There are no threads and no buffers. The
exporters read headers, certificates and compression from the environment variables ``OTEL_EXPORTER_OTLP_*``. Blocks for
the network, at most ``OTEL_EXPORTER_OTLP_TIMEOUT`` (10 s) per request.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ranklog.abc import Refused
from ranklog.model.redact import mask_text

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics.export import MetricsData

_NEVER = (400, 413, 422)
"""Status codes with which a receiver refuses the content permanently."""
_CURES = {
    401: "set OTEL_EXPORTER_OTLP_HEADERS",
    403: "set OTEL_EXPORTER_OTLP_HEADERS",
    404: "check the endpoint; if the receiver accepts no logs, set OTEL_LOGS_EXPORTER=none",
    405: "check the endpoint; if the receiver accepts no logs, set OTEL_LOGS_EXPORTER=none",
}


class ReceiverError(ConnectionError):
    """A receiver did not accept a request.

    Args:
        text: What happened and what helps.
        response: The answer, if there was one.
    """

    def __init__(self, text: str, response: requests.Response | None) -> None:
        super().__init__(text)
        self.response = response


class Sender:
    """Two exporters with one connection each.

    Args:
        endpoint: Address without ``/v1/metrics`` and ``/v1/logs``. None takes the addresses from the environment.
    """

    def __init__(self, endpoint: str | None) -> None:
        import requests
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        base = endpoint.rstrip("/") if endpoint else None
        self._answers: list[requests.Response] = []
        self._exporters: list[Any] = []
        for signal, exporter in (("metrics", OTLPMetricExporter), ("logs", OTLPLogExporter)):
            # Without a handler, Python would print errors that are raised here anyway.
            if not (logger := logging.getLogger(exporter.__module__)).handlers:
                logger.addHandler(logging.NullHandler())
            session = requests.Session()
            session.hooks["response"].append(self._note_answer)
            self._exporters.append(exporter(f"{base}/v1/{signal}" if base else None, session=session))
        self.takes_metrics = _wanted("OTEL_METRICS_EXPORTER")
        self.takes_logs = _wanted("OTEL_LOGS_EXPORTER")

    @property
    def endpoint(self) -> str:
        """Address for metrics, without user and password."""
        return mask_text(str(self._exporters[0]._endpoint))

    def send_metrics(self, data: MetricsData) -> None:
        """Send metrics.

        Raises:
            Refused: the receiver will never accept some of them. The error names no entries.
            ReceiverError: the receiver did not answer, or it asks to try again later.
        """
        self._send(self._exporters[0], data)

    def send_logs(self, records: Sequence[ReadableLogRecord]) -> None:
        """Send log records; raises as `send_metrics` does."""
        self._send(self._exporters[1], records)

    def close(self) -> None:
        """Close the connections."""
        for exporter in self._exporters:
            exporter.shutdown()

    def _note_answer(self, response: requests.Response, *args: Any, **kwargs: Any) -> None:
        self._answers.append(response)

    def _send(self, exporter: Any, data: Any) -> None:
        self._answers.clear()
        exporter.export(data)
        where = mask_text(str(exporter._endpoint))
        if not self._answers:
            raise ReceiverError(f"cannot reach {where}: start the receiver, or give its endpoint", None)
        answer = self._answers[-1]
        text = f"{where} answered {answer.status_code} {answer.reason} {answer.text[:200]!r}"
        if answer.status_code in _NEVER:
            raise Refused(text, [])
        if not 200 <= answer.status_code < 300:  # the exporters take a redirect for success
            cure = _CURES.get(answer.status_code)
            raise ReceiverError(f"{text}: {cure}" if cure else text, answer)
        try:
            reason = _rejected(answer.content)
        except ValueError as error:
            cure = "check the endpoint, and whether a proxy asks for a login"
            raise ReceiverError(f"{text}, which is not the answer of an OTLP receiver: {cure}", answer) from error
        if reason:
            raise Refused(f"{where} rejected: {reason}", [])


def _wanted(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() != "none"


def _rejected(content: bytes) -> str:
    """Return why a receiver rejected a part of a request that it accepted, or nothing.

    Raises:
        ValueError: the answer is neither empty nor an OTLP message in protobuf or JSON, but for example HTML.
    """
    from google.protobuf.json_format import Parse, ParseError
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    found = ""
    # In protobuf the answers to metrics and logs are the same; in JSON the fields have different names.
    for kind, field in (
        (ExportMetricsServiceResponse, "rejected_data_points"),
        (ExportLogsServiceResponse, "rejected_log_records"),
    ):
        try:
            response = kind()
            if content.lstrip().startswith(b"{"):
                Parse(content, response, ignore_unknown_fields=True)
            else:
                response.ParseFromString(content)
        except (DecodeError, ParseError, UnicodeDecodeError) as error:
            raise ValueError("not OTLP") from error
        count = getattr(response.partial_success, field)
        found = found or (f"{count} of them: {response.partial_success.error_message}" if count else "")
    return found
