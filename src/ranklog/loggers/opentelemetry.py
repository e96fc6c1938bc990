"""Logger for OpenTelemetry."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranklog.loggers.arguments import RunArguments
from ranklog.loggers.base import BackendLogger, below, check_text
from ranklog.model.argument_names import named_arguments
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.redact import mask_text, split_userinfo
from ranklog.model.spec import LogFreq, Scalar

if TYPE_CHECKING:
    from typing_extensions import Unpack


class OpenTelemetryLogger(BackendLogger):
    """Sends metrics and log records to an OTLP receiver over HTTP and saves files below ``savedir/opentelemetry``.

    Args:
        savedir: Directory for everything that is stored.
        endpoint: Address before ``/v1/metrics`` and ``/v1/logs``, for example ``"http://collector:4318"``; default:
            ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`` and
            ``OTEL_EXPORTER_OTLP_LOGS_ENDPOINT``, else ``http://localhost:4318``. Keys and tokens are read from
            ``OTEL_EXPORTER_OTLP_HEADERS`` only.
        log_freq: See `BackendLogger`.
        log_on_workers: See `BackendLogger`.
        **run: See `BackendLogger`.

    Raises:
        InvalidArgumentError: an argument is unknown or has a value that is not allowed; also an endpoint that is no
            HTTP address, or that contains a user and password.

    Ranks: see `BackendLogger`.
    """

    @named_arguments(RunArguments)
    def __init__(
        self,
        savedir: str | os.PathLike[str] = "mllogs",
        endpoint: str | None = None,
        *,
        log_freq: LogFreq = "epoch",
        log_on_workers: int | Sequence[int] = 0,
        **run: Unpack[RunArguments],
    ) -> None:
        options: dict[str, Scalar] = {"savedir": below(savedir, "opentelemetry"), "endpoint": _check(endpoint)}
        super().__init__(
            "opentelemetry", options, savedir=savedir, log_freq=log_freq, log_on_workers=log_on_workers, **run
        )


def _check(endpoint: object) -> str | None:
    if endpoint is None:
        return None
    text = check_text("endpoint", endpoint)
    try:
        public = split_userinfo(text).url if re.fullmatch(r"https?://[^\s?#]+", text) else None
    except ValueError:
        public = None
    if public is None:
        raise InvalidArgumentError(
            f"endpoint={mask_text(text).partition('?')[0]!r} is not allowed: give an address with http:// or "
            "https:// and without a query, for example 'http://collector:4318'"
        )
    if public != text:
        raise InvalidArgumentError(
            f"endpoint={mask_text(text)!r} contains a user or password: set OTEL_EXPORTER_OTLP_HEADERS instead, "
            "for example Authorization=Basic%20…"
        )
    return text
