"""Errors of MLflow's client: those of the server, with their cure, and those of single entries.

An error of the server becomes `MlflowUnavailableError`; its entries are delivered later. Entries that MLflow will never
accept are found one by one, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ranklog.abc import Refused
from ranklog.model.record import Entry
from ranklog.model.redact import mask_text, split_userinfo

INVALID_HOST = "Invalid Host header"
"""Part of the server's answer to a request with a host name that it does not allow."""
_REVISION = re.compile(r"(?:database schema \(found version |Can't locate revision identified by ')(\w+)")

_UNREACHABLE = re.compile(
    r"host='(?P<host>[^']*)'.*\[Errno -?\d+\] (?P<reason>Connection refused|Connection reset by peer|No route to host|"
    r"Network is unreachable|Name or service not known|No address associated with hostname|"
    r"Temporary failure in name resolution)",
    re.DOTALL,
)
"""Messages of a connection that failed; a proxy or an artifact store has another host."""


class MlflowUnavailableError(ConnectionError):
    """MLflow, or this run, accepts nothing now. Nothing is wrong with the entries."""


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Raise errors with a known cause as errors that name the cure.

    Raises:
        MlflowUnavailableError: the cause is known. Other exceptions stay as they are.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        # MLflow's client checks the format of some answers only.
        raise MlflowUnavailableError(no_api(uri, error.doc)) from error
    except Exception as error:
        text = _explain(str(error), uri)
        if text:
            raise MlflowUnavailableError(text) from error
        raise


def _explain(message: str, uri: str) -> str:
    if INVALID_HOST in message:
        return f"the MLflow server refuses the host name {host_of(uri)!r} ({INVALID_HOST}): {host_cure(uri)}"
    if "not in a valid JSON format" in message:
        return no_api(uri, message.partition("Response body: ")[2].strip("'"))
    failed = _UNREACHABLE.search(message)
    if failed and failed["host"] == urlsplit(uri).hostname:
        reason = failed["reason"].lower()
        return f"cannot reach the MLflow server at {mask_text(uri)} ({reason}): start it, or check tracking_uri"
    revision = _REVISION.search(message)
    if revision and not _knows(revision[1]):
        return (
            f"the database {mask_text(uri)} was created by a newer MLflow (schema {revision[1]}) than the installed "
            f"one ({_version()}): pip install --upgrade mlflow. `mlflow db upgrade` does not help"
        )
    return ""


def host_of(uri: str) -> str:
    """Return host and port of a server, as in the ``Host`` header of requests."""
    return urlsplit(split_userinfo(uri).url).netloc


def host_cure(uri: str) -> str:
    """Say how to make a server accept requests with this host name."""
    allowed = f"`mlflow server --allowed-hosts {host_of(uri)}`"
    return f"start it with {allowed}. This replaces the defaults, so list every host name and address in use"


def no_api(uri: str, body: str) -> str:
    """Describe an answer that does not come from MLflow."""
    shown = " ".join(mask_text(body).split())[:100]
    cure = "check tracking_uri, and whether a proxy asks for a login"
    return f"{mask_text(uri)} answers, but not with MLflow's API ({shown!r}): {cure}"


def _knows(revision: str) -> bool:
    """Return whether the installed MLflow has the migration to a schema."""
    import mlflow

    versions = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    return any(versions.glob(f"{revision}_*.py"))


def _version() -> str:
    import mlflow

    return str(mlflow.__version__)


def is_too_large(error: Exception) -> bool:
    """Return whether a server, or a proxy in front of it, refused a request for its size (HTTP 413)."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status == 413 or "failed with error code 413" in str(error)


def try_each(
    deliver: Callable[[Sequence[Entry]], None],
    entries: Sequence[Entry],
    refused: dict[int, str],
    *,
    ensure_active: Callable[[], None],
) -> None:
    """Deliver entries together. When MLflow refuses them as invalid or too large, find the bad ones by halving.

    Args:
        deliver: Delivers entries.
        entries: The entries.
        refused: Receives the reasons, by ordinal.
        ensure_active: Raises when the run accepts no entries at all; MLflow has the same error code for that.
    """
    if not entries:
        return
    try:
        deliver(entries)
    except Refused as error:
        refused.update(dict.fromkeys(error.ordinals, error.reason))
    except Exception as error:
        invalid = getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"
        if not invalid and not is_too_large(error):
            raise
        if invalid:
            ensure_active()
        if len(entries) == 1:
            refused[entries[0].ordinal] = str(getattr(error, "message", error))
            return
        middle = len(entries) // 2
        try_each(deliver, entries[:middle], refused, ensure_active=ensure_active)
        try_each(deliver, entries[middle:], refused, ensure_active=ensure_active)
