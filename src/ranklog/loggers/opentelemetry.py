"""The front of the OpenTelemetry backend."""

from __future__ import annotations

import os
import re
from typing import Any

from ranklog.loggers.base import BackendLogger, below
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.redact import mask_text, split_userinfo
from ranklog.model.spec import Scalar


class OpenTelemetryLogger(BackendLogger):
    """Sends metrics and log records to an OTLP receiver over HTTP; files are kept below ``savedir/opentelemetry``.

    Args:
        savedir: Where everything is stored.
        endpoint: Address before ``/v1/metrics`` and ``/v1/logs``, for example ``"http://collector:4318"``; None takes
            ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`` and
            ``OTEL_EXPORTER_OTLP_LOGS_ENDPOINT``, else ``http://localhost:4318``. Keys and tokens are taken from
            ``OTEL_EXPORTER_OTLP_HEADERS`` only.
        **common: See `BackendLogger`.

    Raises:
        InvalidArgumentError: the endpoint is no HTTP address, or has a user and password in it.
    """

    def __init__(self, savedir: str | os.PathLike[str] = "mllogs", endpoint: str | None = None, **common: Any) -> None:
        options: dict[str, Scalar] = {"savedir": below(savedir, "opentelemetry"), "endpoint": _check(endpoint)}
        super().__init__("opentelemetry", options, savedir=savedir, **common)


def _check(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    if not isinstance(endpoint, str) or not re.fullmatch(r"https?://[^\s?#]+", endpoint):
        raise InvalidArgumentError(
            f"endpoint={mask_text(str(endpoint)).partition('?')[0]!r} is not allowed: give an address with http:// or "
            "https:// and without a query, for example 'http://collector:4318'"
        )
    if split_userinfo(endpoint).url != endpoint:
        raise InvalidArgumentError(
            f"endpoint={mask_text(endpoint)!r} has a user or password in it: set OTEL_EXPORTER_OTLP_HEADERS instead, "
            "for example Authorization=Basic%20…"
        )
    return endpoint
