"""Connection to MLflow, and the one MLflow run of a ranklog run.

A ranklog run has one MLflow run in its experiment, however often it is opened: the tag ``ranklog.run_id`` finds it when
its id is not known any more. MLflow's global state (active run, tracking URI) stays untouched. No usage report is sent.
`ranklog.delivery` retries after errors.
"""

from __future__ import annotations

import getpass
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from ranklog.abc import RunContext
from ranklog.backends.mlflow.batches import PAIRS_PER_REQUEST, in_requests
from ranklog.backends.mlflow.trouble import MlflowUnavailableError, explained, no_api
from ranklog.backends.mlflow.uri import alone_in_sqlite, savedir_of, text_of
from ranklog.model.errors import InvalidArgumentError, MissingExtraError
from ranklog.model.redact import mask_text, split_userinfo
from ranklog.model.spec import Scalar

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_TAG = "ranklog.run_id"
MAX_TAG_CHARS = 8000
SCRATCH = ".mlflow-"
"""Prefix of temporary directories in the run directory."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
    # Delivery waits and tries again itself. MLflow's own 7 retries of 120 s would block it for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class MlflowRun(msgspec.Struct, frozen=True):
    """An open run.

    Attributes:
        client: MLflow's client.
        backend_run_id: MLflow's id of the run.
        experiment_id: MLflow's id of its experiment.
        tracking_uri: Address of the server or database.
        run_id: ranklog's id of the run.
        params: Parameters that the run has; kept up to date.
        tags: Tags that the run has; kept up to date.
    """

    client: MlflowClient
    backend_run_id: str
    experiment_id: str
    tracking_uri: str
    run_id: str
    params: dict[str, str]
    tags: dict[str, str]

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise errors of the run or its server as `MlflowUnavailableError`, which says what helps."""
        with explained(self.tracking_uri):
            try:
                yield
            except Exception as error:
                # MLflow uses the same code for a bad request and for a run that was deleted.
                if getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                    self.ensure_active()
                raise

    def ensure_active(self) -> None:
        """Check that the run exists and is active. An upload of artifacts succeeds even if it is not.

        Raises:
            MlflowUnavailableError: the run was deleted, or the answer is not MLflow's.
        """
        _active(self.client, self.backend_run_id, self.tracking_uri, self.run_id)

    def set_tags(self, tags: dict[str, str]) -> None:
        """Set the tags that have another value so far, cut to MLflow's limit."""
        from mlflow.entities import RunTag

        new = {key: value for key, value in _cut(tags).items() if self.tags.get(key) != value}
        pairs = [RunTag(key, value) for key, value in new.items()]
        for some in in_requests(pairs, lambda pair: (pair.key, pair.value), PAIRS_PER_REQUEST):
            self.client.log_batch(self.backend_run_id, tags=some)
        self.tags.update(new)

    @property
    def on_a_server(self) -> bool:
        """Whether a server stores the run, and not a database that this process writes itself."""
        return urlsplit(self.tracking_uri).scheme in ("http", "https")

    def facts(self) -> dict[str, str]:
        """Return the facts to remember and show."""
        uri = split_userinfo(self.tracking_uri).url
        facts = {"run_id": self.backend_run_id, "experiment_id": self.experiment_id, "tracking_uri": uri}
        if self.on_a_server:
            base = uri.rstrip("/")
            facts["url"] = f"{base}/#/experiments/{self.experiment_id}/runs/{self.backend_run_id}"
        return facts


def open_run(context: RunContext, uri: str) -> MlflowRun:
    """Open the run of this context, or create it.

    Args:
        context: The context.
        uri: MLflow's tracking URI.

    Raises:
        MissingExtraError: MLflow is not installed.
        InvalidArgumentError: the run does not exist, or the experiment was deleted.
        MlflowUnavailableError: the run was deleted, or MLflow accepts nothing for another known reason.
    """
    with alone_in_sqlite(uri), explained(uri):
        return _open(connect(uri), uri, context)


def connect(uri: str) -> MlflowClient:
    """Return a client of MLflow. It creates the tables of a SQLite file that has none.

    Raises:
        MissingExtraError: MLflow is not installed.
    """
    _load_quietly()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def disconnect(uri: str) -> None:
    """Close the connections to a database that MLflow keeps per process; they would go on to use a replaced file.

    Raises:
        MissingExtraError: MLflow is not installed.
    """
    _load_quietly()
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking

    for store in (Tracking, Registry):
        engine = store._engine_map.get(uri)  # MLflow has no public way
        if engine is not None:
            engine.dispose()


def _load_quietly() -> None:
    """Import MLflow such that it makes few retries and sends no usage report."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        importlib.import_module("mlflow")
    except ImportError as error:
        raise MissingExtraError("the MLflow backend needs MLflow: pip install 'ranklog[mlflow]'") from error


def _open(client: MlflowClient, uri: str, context: RunContext) -> MlflowRun:
    options = context.spec.options
    known = context.known.get("run_id") or text_of(options, "run_id")
    if known:
        run = _active(client, known, uri, context.facts.run_id if "run_id" in context.known else "")
        experiment_id = run.info.experiment_id
    else:
        experiment_id = _experiment(client, uri, options)
        found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{_quoted(context.facts.run_id)}'")
        run = found[0] if found else _create(client, experiment_id, context)
    if run.info.status != "RUNNING" or run.info.end_time:
        _set_running(client, run.info.run_id)
    params, tags = dict(run.data.params), dict(run.data.tags)
    opened = MlflowRun(client, run.info.run_id, experiment_id, uri, context.facts.run_id, params, tags)
    group = {"ranklog.group": context.facts.group} if context.facts.group else {}
    opened.set_tags({RUN_TAG: context.facts.run_id, "ranklog.attempt": str(context.attempt), **group})
    return opened


def _active(client: MlflowClient, backend_run_id: str, uri: str, run_id: str) -> Run:
    """Return a run that accepts entries; ``run_id`` is empty when nothing was delivered to it yet."""
    try:
        run = client.get_run(backend_run_id)
    except Exception as error:
        if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
            raise
        where = f"MLflow run {backend_run_id} at {mask_text(uri)}"
        if not run_id:
            raise InvalidArgumentError(f"there is no {where}: check run_id") from error
        cure = f"to deliver everything to a new run: `ranklog sync {run_id} --to mlflow={mask_text(uri)}`"
        text = f"there is no {where} any more. It was deleted permanently, for example by `mlflow gc`; {cure}"
        raise MlflowUnavailableError(text) from error
    if run.info.run_id != backend_run_id:
        raise MlflowUnavailableError(no_api(uri, ""))
    if run.info.lifecycle_stage != "active":
        raise MlflowUnavailableError(
            f"the MLflow run {backend_run_id} was deleted: restore it, or its experiment, in MLflow's UI or with "
            f"`mlflow runs restore --run-id {backend_run_id}`, then run `ranklog sync`. The records are kept until then"
        )
    return run


def _set_running(client: MlflowClient, backend_run_id: str) -> None:
    """Set a run that has ended to running and remove its end time."""
    from mlflow.entities import RunStatus

    # The client's public calls keep the end time. 0 means none in MLflow's protocol, but 1970 in its database.
    store = client._tracking_client.store
    store.update_run_info(backend_run_id, RunStatus.RUNNING, 0, None)
    engine = getattr(store, "engine", None)
    if engine is not None:
        from sqlalchemy import text

        with engine.begin() as connection:
            connection.execute(text("UPDATE runs SET end_time = NULL WHERE run_uuid = :run"), {"run": backend_run_id})


def _experiment(client: MlflowClient, uri: str, options: dict[str, Scalar]) -> str:
    from mlflow.exceptions import MlflowException

    name = text_of(options, "experiment_name") or "Default experiment"
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        local = urlsplit(uri).scheme.split("+")[0] not in ("http", "https", "databricks", "databricks-uc", "")
        # Without a server, MLflow would put artifacts below the current directory of this process.
        location = (Path(savedir_of(options)) / "artifacts").as_uri() if local else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            # Another run may have created it in the meantime.
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
        "mlflow.runName": text_of(options, "run_name") or facts.run_id,
        "mlflow.note.content": text_of(options, "run_description"),
        "mlflow.parentRunId": text_of(options, "parent_run_id"),
        # MLflow's UI shows the part after the last slash.
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


def _quoted(text: str) -> str:
    return text.replace("'", "")
