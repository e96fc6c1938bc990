"""Trouble with MLflow: told from entries that it will never take, and named with its cure.

In: what MLflow's client raised. Out: `MlflowUnavailableError`, after which the entries are still to be delivered, or
the reasons of those that are refused for what they are.
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
"""In the answer of a server to a request that names it in a way that it does not know."""
_REVISION = re.compile(r"(?:database schema \(found version |Can't locate revision identified by ')(\w+)")


class MlflowUnavailableError(ConnectionError):
    """MLflow, or this run of it, takes nothing now; nothing is wrong with the entries."""


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Raise trouble that has a known cause with its cure.

    Raises:
        MlflowUnavailableError: from what MLflow's client raised; what has no known cause is raised as it was.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        # MLflow's client looks at the form of some answers only.
        raise MlflowUnavailableError(no_api(uri, error.doc)) from error
    except Exception as error:
        text = _cure(str(error), uri)
        if text:
            raise MlflowUnavailableError(text) from error
        raise


def _cure(said: str, uri: str) -> str:
    if INVALID_HOST in said:
        return f"the MLflow server refuses the host name {host_of(uri)!r} ({INVALID_HOST}): {host_cure(uri)}"
    if "not in a valid JSON format" in said:
        return no_api(uri, said.partition("Response body: ")[2].strip("'"))
    revision = _REVISION.search(said)
    if revision and not _knows(revision[1]):
        return (
            f"the database {mask_text(uri)} was made by a newer MLflow (schema {revision[1]}) than the one that is "
            f"installed here ({_version()}): pip install --upgrade mlflow. `mlflow db upgrade` cannot help"
        )
    return ""


def host_of(uri: str) -> str:
    """Host and port of a server, as requests name it."""
    return urlsplit(split_userinfo(uri).url).netloc


def host_cure(uri: str) -> str:
    """How to have a server take requests that name it in this way."""
    allowed = f"`mlflow server --allowed-hosts {host_of(uri)}`"
    return f"start it with {allowed}, which replaces its defaults: list every host name and address in use"


def no_api(uri: str, body: str) -> str:
    """Text for an answer that MLflow cannot have given."""
    shown = " ".join(mask_text(body).split())[:100]
    cure = "check tracking_uri, and whether a proxy asks for a login"
    return f"{mask_text(uri)} answers, but not with MLflow's API ({shown!r}): {cure}"


def _knows(revision: str) -> bool:
    """Whether the installed MLflow has the migration that made a schema."""
    import mlflow

    versions = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    return any(versions.glob(f"{revision}_*.py"))


def _version() -> str:
    import mlflow

    return str(mlflow.__version__)


def is_too_large(error: Exception) -> bool:
    """Whether a server, or a proxy before it, refused a request for its size (HTTP 413)."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status == 413 or "failed with error code 413" in str(error)


def try_each(
    deliver: Callable[[Sequence[Entry]], None],
    entries: Sequence[Entry],
    refused: dict[int, str],
    *,
    run_takes: Callable[[], None],
) -> None:
    """Deliver entries together; where MLflow calls one invalid or too large, find it and note why.

    Args:
        deliver: Delivers entries.
        entries: What to deliver.
        refused: Takes the reasons by ordinal.
        run_takes: Raises when the run takes no entries at all, for which MLflow has the same error code.
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
            run_takes()
        if len(entries) == 1:
            refused[entries[0].ordinal] = str(getattr(error, "message", error))
            return
        middle = len(entries) // 2
        try_each(deliver, entries[:middle], refused, run_takes=run_takes)
        try_each(deliver, entries[middle:], refused, run_takes=run_takes)
