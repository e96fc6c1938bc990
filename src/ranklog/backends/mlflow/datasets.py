"""Datasets as inputs of an MLflow run.

MLflow's UI shows the name, digest, source, schema and profile of a dataset, and the context as a tag. Storing a dataset
again changes nothing. A digest that is too long for MLflow is replaced by its own digest; the profile has the whole
one. Pure, except for the one call of MLflow's client.
"""

from __future__ import annotations

import hashlib
import json

import msgspec

from ranklog.backends.mlflow.run import MlflowRun
from ranklog.model.content import Dataset
from ranklog.model.record import Item

_MAX_DIGEST = 36
_MAX_NAME = 500
_MAX_SOURCE = 65_000
_MAX_COLUMNS = 2000
_TYPES = {
    "float64": "double",
    "double": "double",
    "float32": "float",
    "float": "float",
    "int64": "long",
    "long": "long",
    "int32": "integer",
    "int": "integer",
    "bool": "boolean",
    "boolean": "boolean",
    "object": "string",
    "str": "string",
    "string": "string",
}


def store_dataset(run: MlflowRun, item: Item, body: bytes) -> None:
    """Make a dataset an input of the run."""
    from mlflow.entities import Dataset as MlflowDataset
    from mlflow.entities import DatasetInput, InputTag

    facts = msgspec.json.decode(body, type=Dataset)
    digest = facts.digest
    if len(digest) > _MAX_DIGEST:
        digest = hashlib.sha256(digest.encode()).hexdigest()[:_MAX_DIGEST]
    known = {
        "num_rows": facts.rows,
        "num_files": facts.files,
        "size_bytes": facts.size_bytes,
        "digest_of": facts.digest_of,
        "digest": facts.digest,
        "step": item.step,
    }
    dataset = MlflowDataset(
        name=facts.name[:_MAX_NAME],
        digest=digest,
        source_type="local" if facts.source_type == "local" else facts.source_type,
        source=json.dumps({"uri": facts.source or facts.source_type})[:_MAX_SOURCE],
        schema=_schema(facts.columns),
        profile=json.dumps({name: value for name, value in known.items() if value is not None}),
    )
    context = str(item.meta.get("context") or "")
    tags = [InputTag("mlflow.data.context", context[:_MAX_DIGEST])] if context else []
    run.client.log_inputs(run.backend_run_id, datasets=[DatasetInput(dataset, tags)])


def _schema(columns: dict[str, str] | None) -> str | None:
    """Return columns in MLflow's format. Types that MLflow lacks become strings."""
    if not columns:
        return None
    some = list(columns.items())[:_MAX_COLUMNS]
    return json.dumps(
        {
            "mlflow_colspec": [
                {"type": _TYPES.get(kind.lower(), "string"), "name": name, "required": True} for name, kind in some
            ]
        }
    )
