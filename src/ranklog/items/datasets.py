"""Encoder of datasets: facts that identify and describe data, never the data itself.

The digest is computed from the content where that is quick: from files up to 64 MiB together, or the first rows of a
table. For larger files it is computed from names, sizes and times of change; `Dataset.digest_of` says which.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ranklog.abc import Content, Encoded
from ranklog.items.file_names import file_name
from ranklog.items.text import as_json
from ranklog.model import content
from ranklog.model.content import Dataset
from ranklog.model.errors import InvalidItemError
from ranklog.model.redact import mask_text
from ranklog.model.text import storable
from ranklog.values.arrays import to_array
from ranklog.values.loaded import loaded
from ranklog.values.plain import key_text
from ranklog.values.refusing import refusing, wrong_item
from ranklog.values.tables import columns_and_rows, distinct

CONTENT_BYTES = 64 * 1024 * 1024
SAMPLE_ROWS = 10_000
MAX_COLUMNS = 1000
_DIGEST_CHARS = 16


def encode_dataset(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """Facts of a dataset.

    Raises:
        InvalidItemError: it is not a dataset, or cannot be read.
    """
    with refusing(f"dataset {name!r}"):
        facts = _facts(item, name)
    return Encoded(content.DATASET, (Content(file_name(name, ".json"), msgspec.json.encode(facts)),))


def _facts(item: Any, name: str) -> Dataset:
    if isinstance(item, (str, Path)):
        return _of_path(Path(item), name)
    if isinstance(item, tuple) and len(item) == 3 and all(isinstance(part, (str, Path)) for part in item):
        given, digest, uri = (storable(str(part)) for part in item)
        return Dataset(name=given, digest=digest, digest_of="given", source=mask_text(uri), source_type="uri")
    if hasattr(item, "_fingerprint") and hasattr(item, "features"):
        return _of_huggingface(item, name)
    if all(hasattr(item, attribute) for attribute in ("digest", "source", "to_dict", "profile")):
        return _of_mlflow(item, name)
    if (facts := _of_table(item, name)) is not None:
        return facts
    torch = loaded("torch")
    if (torch is not None and isinstance(item, torch.Tensor)) or hasattr(item, "__array_interface__"):
        return _of_array(item, name)
    if torch is not None and isinstance(item, torch.utils.data.DataLoader):
        item = item.dataset
    if torch is not None and isinstance(item, torch.utils.data.Dataset):
        return _of_torch(item, name)
    raise wrong_item(item, name, "dataset")


def _of_path(path: Path, name: str) -> Dataset:
    if not path.exists():
        raise InvalidItemError(f"dataset {name!r}: no file or folder at {str(path)!r}")
    found = sorted(_files(path))
    size = sum(stat.st_size for _, stat in found)
    digest = hashlib.sha256()
    for relative, stat in found:
        digest.update(f"{relative}\0{stat.st_size}\0".encode("utf-8", "surrogateescape"))
        if size <= CONTENT_BYTES:
            digest.update((path / relative if relative else path).read_bytes())
        else:
            digest.update(f"{stat.st_mtime_ns}\0".encode())
    return Dataset(
        name=name,
        digest=digest.hexdigest()[:_DIGEST_CHARS],
        digest_of="content" if size <= CONTENT_BYTES else "listing",
        source=storable(str(path.absolute())),
        files=len(found),
        size_bytes=size,
    )


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files at or below a path, by their relative path; empty for the path itself."""
    if path.is_file():
        yield "", path.stat()
        return
    for root, _, names in os.walk(path):
        for name in names:
            file = Path(root, name)
            if file.is_file():
                yield file.relative_to(path).as_posix(), file.stat()


def _of_array(item: Any, name: str) -> Dataset:
    array = to_array(item)
    if array.ndim == 0:
        raise wrong_item(item, name, "dataset", " without dimensions")
    sample = array[:SAMPLE_ROWS]
    # The bytes of an array of objects are memory addresses.
    data = as_json(sample, name, "dataset") if array.dtype.hasobject else sample.tobytes()
    return Dataset(
        name=name,
        digest=_digest(str((array.shape, array.dtype)).encode(), data),
        digest_of="content" if len(array) <= SAMPLE_ROWS else "sample",
        source_type="array",
        columns={"value": str(array.dtype)},
        rows=len(array),
    )


def _of_table(item: Any, name: str) -> Dataset | None:
    """A table of pandas, pyarrow or polars, or an object with ``to_pandas``; None for other objects."""
    if hasattr(item, "columns") and hasattr(item, "itertuples"):
        sample = item.head(SAMPLE_ROWS).to_csv(index=False).encode("utf-8", "surrogatepass")
        return _of_columns(name, [key_text(column) for column in item.columns], item.dtypes, len(item), sample)
    if hasattr(item, "slice") and (head := columns_and_rows(item.slice(0, SAMPLE_ROWS))) is not None:
        types = item.schema.types if hasattr(item.schema, "types") else item.dtypes
        return _of_columns(name, head.columns, types, len(item), as_json(head.rows, name, "dataset"))
    if callable(convert := getattr(item, "to_pandas", None)):
        return _of_table(convert(), name)
    return None


def _of_columns(name: str, columns: Sequence[str], types: Iterable[Any], rows: int, sample: bytes) -> Dataset:
    named = {column: storable(str(dtype)) for column, dtype in zip(distinct(columns), types, strict=True)}
    return Dataset(
        name=name,
        digest=_digest(str((rows, named)).encode(), sample),
        digest_of="content" if rows <= SAMPLE_ROWS else "sample",
        source_type="dataframe",
        columns=_first(named),
        rows=rows,
    )


def _of_mlflow(data: Any, name: str) -> Dataset:
    """A dataset of ``mlflow.data``, from MLflow's own JSON description."""
    told = data.to_dict()
    source, schema, profile = (_decoded(told.get(part)) for part in ("source", "schema", "profile"))
    address = next((source[key] for key in ("uri", "url", "path") if source.get(key)), "")
    columns = schema.get("mlflow_colspec")
    return Dataset(
        name=storable(str(told.get("name") or name)),
        digest=storable(str(told.get("digest"))),
        digest_of="given",
        source=storable(mask_text(str(address))),
        source_type=storable(str(told.get("source_type", "local"))),
        columns=_first({storable(str(each.get("name", at))): str(each.get("type")) for at, each in enumerate(columns)})
        if isinstance(columns, list)
        else None,
        rows=_first_number(profile.get("num_rows"), profile.get("features_shape")),
    )


def _first_number(*found: object) -> int | None:
    """A number of rows, or the first of the lengths of an array."""
    lengths = [each[0] if isinstance(each, list) and each else each for each in found]
    return next((length for length in lengths if type(length) is int), None)


def _decoded(text: object) -> dict[str, Any]:
    """A part of MLflow's description; empty where it is missing or is not a JSON object."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _of_huggingface(data: Any, name: str) -> Dataset:
    columns = {storable(str(key)): storable(str(getattr(kind, "dtype", kind))) for key, kind in data.features.items()}
    return Dataset(
        name=storable(str(getattr(getattr(data, "info", None), "dataset_name", None) or name)),
        digest=storable(str(data._fingerprint)),
        digest_of="content",
        source_type="huggingface",
        columns=_first(columns),
        rows=len(data) if hasattr(data, "__len__") else None,
    )


def _of_torch(data: Any, name: str) -> Dataset:
    kind = f"{type(data).__module__}.{type(data).__qualname__}"
    rows = len(data) if hasattr(data, "__len__") else None
    root = getattr(data, "root", None)
    tensors = getattr(data, "tensors", None)
    parts = [str((kind, rows)).encode()]
    if tensors:
        parts += [str((tuple(t.shape), str(t.dtype))).encode() + to_array(t[:SAMPLE_ROWS]).tobytes() for t in tensors]
    return Dataset(
        name=name,
        digest=_digest(*parts),
        digest_of="shape" if not tensors else "content" if (rows or 0) <= SAMPLE_ROWS else "sample",
        source=storable(str(Path(root).absolute())) if isinstance(root, (str, Path)) else "",
        source_type="torch",
        columns={f"tensor_{i}": str(t.dtype).removeprefix("torch.") for i, t in enumerate(tensors)}
        if tensors
        else None,
        rows=rows,
    )


def _first(columns: dict[str, str]) -> dict[str, str]:
    return dict(list(columns.items())[:MAX_COLUMNS])


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:_DIGEST_CHARS]
