"""A saved model as MLflow's logged model.

Takes a model item whose folder was written by MLflow's own ``save_model`` in the training process, uploads it
and links it to the run, so that ``models:/<id>`` and ``runs:/<run>/<name>`` load it. Storing the same entry
again finds the logged model by its tags and finishes what is missing. Blocks for disk and network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ranklog.delivery.backends.base import RunContext
from ranklog.delivery.backends.files import safe_path
from ranklog.delivery.backends.mlflow_items import SCRATCH
from ranklog.delivery.backends.mlflow_names import to_model_name
from ranklog.delivery.backends.mlflow_run import RUN_TAG, MlflowRun
from ranklog.model.record import Item

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

_ORDINAL_TAG = "ranklog.ordinal"


def store_model(context: RunContext, run: MlflowRun, item: Item, ordinal: int) -> str:
    """Store a model; returns MLflow's id of it."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    name = to_model_name(item.name)
    tags = {RUN_TAG: context.facts.run_id, _ORDINAL_TAG: str(ordinal), "ranklog.step": str(item.step)}
    model = next(_same(run, name, ordinal), None) or run.client.create_logged_model(
        run.experiment_id,
        name=name,
        source_run_id=run.run_id,
        tags=tags | {"ranklog.kind": item.kind},
        model_type="pytorch",
    )
    model_id = str(model.model_id)
    if model.status != LoggedModelStatus.READY:
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=context.run_dir) as folder:
            files = [msgspec.structs.replace(file, path=str(safe_path(file.path))) for file in item.files]
            context.materialise(files, Path(folder))
            run.client.log_model_artifacts(model_id, folder)
        outputs = run.client.get_run(run.run_id).outputs
        linked = {output.model_id for output in outputs.model_outputs} if outputs else set()
        if model_id not in linked:
            run.client.log_outputs(run.run_id, [LoggedModelOutput(model_id, step=item.step)])
        run.client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    if item.kind == "best_model":
        run.set_tags({"ranklog.best_model": model_id})
    return model_id


def _same(run: MlflowRun, name: str, ordinal: int) -> Iterator[LoggedModel]:
    token = None
    while True:
        page = run.client.search_logged_models([run.experiment_id], filter_string=f"name = '{name}'", page_token=token)
        for model in page:
            if model.source_run_id == run.run_id and model.tags.get(_ORDINAL_TAG) == str(ordinal):
                yield model
        token = page.token
        if not token:
            return
