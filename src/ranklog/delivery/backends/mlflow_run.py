"""Connects to MLflow and finds or makes the one run that stands for a ranklog run.

Takes a `RunContext`, gives a `MlflowRun`. Guarantees: a ranklog run has one MLflow run in its experiment,
however often it is opened (its tag ``ranklog.run_id`` finds it when the remembered id is lost); MLflow's
global state (active run, tracking URI) is left alone; no usage report is sent; retries are left to the pump.
"""

from __future__ import annotations

import fcntl
import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from ranklog.delivery.backends.base import RunContext
from ranklog.delivery.backends.mlflow_batches import PAIRS_A_BATCH, in_requests
from ranklog.journal.layout import make_private_dir
from ranklog.model.errors import InvalidArgumentError, MissingExtraError
from ranklog.model.redact import mask_text
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_TAG = "ranklog.run_id"
MAX_TAG_CHARS = 8000
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
    # The pump waits and tries again by itself; MLflow's own 7 retries of 120 s would hold it up for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class MlflowRun(msgspec.Struct, frozen=True):
    """An open run.

    Attributes:
        client: The client it is written with.
        run_id: MLflow's id of the run.
        experiment_id: MLflow's id of its experiment.
        tracking_uri: Where it is.
        params: Parameters it already has; kept up to date.
        tags: Tags it already has; kept up to date.
    """

    client: MlflowClient
    run_id: str
    experiment_id: str
    tracking_uri: str
    params: dict[str, str]
    tags: dict[str, str]

    def set_tags(self, tags: dict[str, str]) -> None:
        """Set the tags that have another value so far, cut to what MLflow takes."""
        from mlflow.entities import RunTag

        new = {key: value for key, value in _cut(tags).items() if self.tags.get(key) != value}
        pairs = [RunTag(key, value) for key, value in new.items()]
        for some in in_requests(pairs, lambda pair: (pair.key, pair.value), PAIRS_A_BATCH):
            self.client.log_batch(self.run_id, tags=some)
        self.tags.update(new)

    @property
    def on_a_server(self) -> bool:
        """Whether a server keeps the run, not a database that this process writes itself."""
        return urlsplit(self.tracking_uri).scheme in ("http", "https")

    def facts(self) -> dict[str, str]:
        """What to remember and show."""
        facts = {
            "run_id": self.run_id,
            "experiment_id": self.experiment_id,
            "tracking_uri": self.tracking_uri,
        }
        if self.on_a_server:
            base = self.tracking_uri.rstrip("/")
            facts["url"] = f"{base}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        return facts


def is_too_large(error: Exception) -> bool:
    """Whether a server, or a proxy before it, refused a request for its size (HTTP 413)."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status == 413 or "failed with error code 413" in str(error)


def open_run(context: RunContext) -> MlflowRun:
    """Open the run of this context, or make it.

    Raises:
        MissingExtraError: MLflow is not installed.
        InvalidArgumentError: MLflow does not take the tracking URI, or run or experiment were deleted.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MissingExtraError("the MLflow backend needs MLflow: pip install 'ranklog[mlflow]'") from error
    options = context.spec.options
    uri = _tracking_uri(options)
    with _alone_in_sqlite(uri):
        return _open(MlflowClient(tracking_uri=uri), uri, context)


@contextmanager
def _alone_in_sqlite(uri: str) -> Iterator[None]:
    """One process at a time: of two that make the tables of a new SQLite database one would fail."""
    database = _sqlite_file(uri)
    if database is None:
        yield
        return
    make_private_dir(database.parent)
    # MLflow has a lock of its own, which does not keep them apart: one of two failed in most tries.
    fd = os.open(database.parent / f".{database.name}.opening", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _sqlite_file(uri: str) -> Path | None:
    if urlsplit(uri).scheme.split("+")[0] != "sqlite":
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    return Path(name).absolute() if name and name != ":memory:" else None


def _open(client: MlflowClient, uri: str, context: RunContext) -> MlflowRun:
    options = context.spec.options
    known = context.known.get("run_id") or _text(options, "run_id")
    if known:
        run = client.get_run(known)
        experiment_id = run.info.experiment_id
    else:
        experiment_id = _experiment(client, uri, options)
        found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{_quoted(context.facts.run_id)}'")
        run = found[0] if found else _create(client, experiment_id, context)
    if run.info.lifecycle_stage != "active":
        raise InvalidArgumentError(
            f"the MLflow run {run.info.run_id} was deleted: restore it with "
            f"`mlflow runs restore --run-id {run.info.run_id}`, or give another run_id"
        )
    if run.info.status != "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
    opened = MlflowRun(client, run.info.run_id, experiment_id, uri, dict(run.data.params), dict(run.data.tags))
    group = {"ranklog.group": context.facts.group} if context.facts.group else {}
    opened.set_tags({RUN_TAG: context.facts.run_id, "ranklog.attempt": str(context.attempt), **group})
    return opened


def _tracking_uri(options: dict[str, Scalar]) -> str:
    uri = _text(options, "tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        database = Path(_savedir(options)) / "mlflow.db"
        make_private_dir(database.parent)
        # SQLite would create it with the umask's permissions.
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return f"sqlite:///{database}"
    allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    if urlsplit(uri).scheme in ("", "file") and not allowed and not uri.startswith("databricks"):
        raise InvalidArgumentError(
            f"tracking_uri={mask_text(uri)!r} is a folder, which MLflow no longer writes to: leave it out "
            f"to get SQLite under savedir, or give sqlite:///<path>/mlflow.db or a server's http(s) address"
        )
    return uri


def _experiment(client: MlflowClient, uri: str, options: dict[str, Scalar]) -> str:
    from mlflow.exceptions import MlflowException

    name = _text(options, "experiment_name") or "Default experiment"
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        local = urlsplit(uri).scheme.split("+")[0] not in ("http", "https", "databricks", "databricks-uc", "")
        # Without a server MLflow would put artifacts below the directory this process happens to be in.
        location = (Path(_savedir(options)) / "artifacts").as_uri() if local else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            # Another run may have created it just now.
            experiment = client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise InvalidArgumentError(
            f"the MLflow experiment {name!r} was deleted: restore it with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, or give another "
            f"experiment_name"
        )
    return str(experiment.experiment_id)


def _create(client: MlflowClient, experiment_id: str, context: RunContext) -> Run:
    options, facts = context.spec.options, context.facts
    tags = {
        "mlflow.runName": _text(options, "run_name") or facts.run_id,
        "mlflow.note.content": _text(options, "run_description"),
        "mlflow.parentRunId": _text(options, "parent_run_id"),
        # MLflow's pages show what comes after the last slash.
        "mlflow.source.name": facts.script or " ".join(facts.command),
        "ranklog.command": " ".join(facts.command),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        RUN_TAG: facts.run_id,
    }
    return client.create_run(
        experiment_id,
        start_time=facts.created_ns // 1_000_000,
        tags=_cut({name: value for name, value in tags.items() if value}),
    )


def _cut(tags: dict[str, str]) -> dict[str, str]:
    return {name: value[:MAX_TAG_CHARS] for name, value in tags.items()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _text(options: dict[str, Scalar], name: str) -> str:
    value = options.get(name)
    return "" if value is None else str(value)


def _savedir(options: dict[str, Scalar]) -> str:
    savedir = _text(options, "savedir")
    if not savedir:
        raise InvalidArgumentError("the MLflow backend's option 'savedir' is missing: give an absolute path")
    return savedir


def _quoted(text: str) -> str:
    return text.replace("'", "")
