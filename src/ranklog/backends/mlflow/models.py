"""Models as MLflow's logged models, and their registration.

A folder that MLflow's own ``save_model`` wrote is uploaded, and ``models:/<id>`` and ``runs:/<run>/<name>`` load it.
Other files are uploaded too, such as the ``state_dict.pt`` of a run that trained without MLflow; a tag tells MLflow
that it cannot load them itself. For a reference, only its address is stored. A logged model has the parameters of the
run and the newest metrics before it.

Storing the same entry again finds the logged model by its tags and completes it. An alias never moves back to an
older version. Blocks for disk and network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ranklog.abc import RunContext
from ranklog.backends.mlflow.batches import METRICS_PER_REQUEST, in_requests
from ranklog.backends.mlflow.names import to_key, to_model_name
from ranklog.backends.mlflow.run import RUN_TAG, SCRATCH, MlflowRun
from ranklog.backends.shared.artifacts import safe_path
from ranklog.model import content
from ranklog.model.kinds import LOAD
from ranklog.model.record import Item

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

_ORDINAL_TAG = "ranklog.ordinal"
_MLMODEL = "MLmodel"
_FROM_RANKLOG = "ranklog.model_id"
_RUN_TAGS = {"best_model": "ranklog.best_model"}
_ALIASES = {"best_model": "best"}


class Latest(msgspec.Struct, frozen=True):
    """The newest value of a metric."""

    value: float
    time_ms: int
    step: int


def store_model(context: RunContext, run: MlflowRun, item: Item, ordinal: int, metrics: Mapping[str, Latest]) -> str:
    """Store a model with the metrics that were the newest when it was logged; returns MLflow's id of the model."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    model = _find_or_create(context, run, item, ordinal)
    model_id = str(model.model_id)
    if model.status != LoggedModelStatus.READY:
        _upload(context, run, item, model)
        _log_metrics(run, model_id, metrics)
        outputs = run.client.get_run(run.backend_run_id).outputs
        linked = {output.model_id for output in outputs.model_outputs} if outputs else set()
        if model_id not in linked:
            run.client.log_outputs(run.backend_run_id, [LoggedModelOutput(model_id, step=item.step)])
        run.client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    _register(run, item, model)
    if tag := _RUN_TAGS.get(item.kind):
        run.set_tags({tag: model_id})
    return model_id


def _find_or_create(context: RunContext, run: MlflowRun, item: Item, ordinal: int) -> LoggedModel:
    name = to_model_name(item.name)
    found = next(_logged_before(run, name, ordinal), None)
    if found is not None:
        return found
    tags = {
        RUN_TAG: context.facts.run_id,
        _ORDINAL_TAG: str(ordinal),
        "ranklog.step": str(item.step),
        "ranklog.kind": item.kind,
    }
    if item.media == content.REFERENCE:
        reference = msgspec.json.decode(context.content(item.files[0]), type=content.Reference)
        size = sum(file.size for file in reference.files)
        tags |= {
            "mlflow.model.isExternal": "true",
            "ranklog.uri": reference.uri,
            "ranklog.host": reference.host,
            "ranklog.bytes": str(size),
        }
    elif not _is_loadable(item):
        tags["mlflow.model.isExternal"] = "true"
    return run.client.create_logged_model(
        run.experiment_id,
        name=name,
        source_run_id=run.backend_run_id,
        tags=tags,
        params=dict(run.params) or None,
        model_type="pytorch",
    )


def _is_loadable(item: Item) -> bool:
    return any(file.path == _MLMODEL for file in item.files)


def _upload(context: RunContext, run: MlflowRun, item: Item, model: LoggedModel) -> None:
    from mlflow.models.utils import get_external_mlflow_model_spec

    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=context.run_dir) as folder:
        files = [msgspec.structs.replace(file, path=str(safe_path(file.path))) for file in item.files]
        context.materialise(files, Path(folder))
        if not _is_loadable(item):
            # MLflow registers no model without this file.
            get_external_mlflow_model_spec(model).save(str(Path(folder) / _MLMODEL))
        run.client.log_model_artifacts(str(model.model_id), folder)


def _log_metrics(run: MlflowRun, model_id: str, metrics: Mapping[str, Latest]) -> None:
    from mlflow.entities import Metric

    batch = [
        Metric(to_key(name), latest.value, latest.time_ms, latest.step, model_id=model_id)
        for name, latest in metrics.items()
        if not name.startswith(LOAD)
    ]
    for some in in_requests(batch, lambda metric: (metric.key, model_id), METRICS_PER_REQUEST):
        run.client.log_batch(run.backend_run_id, metrics=some)


def _register(run: MlflowRun, item: Item, model: LoggedModel) -> None:
    """Make the model a version of a registered model, if the call asked for it."""
    from mlflow.exceptions import MlflowException

    alias = str(item.meta.get("alias") or _ALIASES.get(item.kind, ""))
    name = str(item.meta.get("registered_model_name") or (item.name if item.meta.get("alias") else ""))
    if not name:
        return
    name = to_model_name(name)
    model_id = str(model.model_id)
    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = run.client.search_model_versions(f"name = '{name}'")
    existing = [each for each in versions if each.tags.get(_FROM_RANKLOG) == model_id]
    version = (
        existing[0]
        if existing
        else run.client.create_model_version(
            name,
            # Without a server, MLflow would look the id up in the default store of this process.
            source=f"models:/{model_id}" if run.on_a_server else str(model.artifact_location),
            run_id=run.backend_run_id,
            model_id=model_id,
            tags={_FROM_RANKLOG: model_id, RUN_TAG: run.tags.get(RUN_TAG, "")},
        )
    )
    if not alias:
        return
    holder = run.client.get_registered_model(name).aliases.get(alias, 0)
    if int(version.version) > int(holder):
        run.client.set_registered_model_alias(name, alias, str(version.version))


def _logged_before(run: MlflowRun, name: str, ordinal: int) -> Iterator[LoggedModel]:
    token = None
    while True:
        page = run.client.search_logged_models([run.experiment_id], filter_string=f"name = '{name}'", page_token=token)
        for model in page:
            if model.source_run_id == run.backend_run_id and model.tags.get(_ORDINAL_TAG) == str(ordinal):
                yield model
        token = page.token
        if not token:
            return
