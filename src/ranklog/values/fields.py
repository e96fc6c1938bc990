"""Reads the fields and elements of structured values. Pure; imports no package.

Named fields: mappings, dataclasses, attrs classes, pydantic models, ``argparse.Namespace``, ``SimpleNamespace``,
namedtuples, msgspec structs and OmegaConf configs. Elements: lists, tuples, sets, arrays, tensors and other objects
with ``tolist`` or ``to_pylist``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set, ValuesView
from types import ModuleType, SimpleNamespace
from typing import Any

from ranklog.values.loaded import loaded

_MISSING = object()


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """Named fields of a value; None if it has none. Fields that were never set are left out."""
    if type(value) is dict:
        return value
    if isinstance(value, Mapping):
        return _of_config(value) if _is_omegaconf(value) else value
    if isinstance(value, (argparse.Namespace, SimpleNamespace)):
        return vars(value)
    names = _field_names(value)
    if names is None:
        return None
    found: dict[Any, Any] = {name: getattr(value, name, _MISSING) for name in names}
    extra: Mapping[str, Any] | None = getattr(value, "model_extra", None)  # of a pydantic model that allows any field
    return {name: each for name, each in found.items() if each is not _MISSING} | dict(extra or {})


def _field_names(value: Any) -> Iterable[str] | None:
    if isinstance(value, type):
        return None
    kind: Any = type(value)
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    if isinstance(attributes := getattr(kind, "__attrs_attrs__", None), tuple):
        return [attribute.name for attribute in attributes]
    if isinstance(names := getattr(kind, "model_fields", None), Mapping):
        return list(names)
    if isinstance(names := getattr(kind, "__struct_fields__", None), tuple):
        return list(names)
    if isinstance(value, tuple) and isinstance(names := getattr(kind, "_fields", None), tuple):
        return list(names)
    return None


def elements_of(value: Any) -> Iterable[Any] | None:
    """Elements of a value in a stable order; None if it has none."""
    if _is_omegaconf(value):
        return [_config_item(value, index) for index in range(len(value))]
    if isinstance(value, Set):
        return sorted(value, key=lambda each: (type(each).__name__, str(each)))
    if isinstance(value, (Sequence, deque, ValuesView)):
        return value
    if isinstance(value, (type, ModuleType)):  # their attributes belong to their instances and members
        return None
    dtype = getattr(value, "dtype", None)
    # tolist drops the field names of a structured array, and the unit of times.
    if dimensions_of(value) > 0 and (getattr(dtype, "names", None) or getattr(dtype, "kind", "") in ("m", "M")):
        return list(value)
    for method in ("tolist", "to_list", "to_pylist"):
        if callable(read := getattr(value, method, None)):
            elements = read()
            return elements if isinstance(elements, Sequence) and not isinstance(elements, (str, bytes)) else None
    return None


def dimensions_of(value: Any) -> int:
    """Number of dimensions of an array or tensor; -1 for other objects."""
    found = getattr(value, "ndim", None) if hasattr(value, "dtype") else None
    return found if isinstance(found, int) else -1


def _is_omegaconf(value: Any) -> bool:
    omegaconf = loaded("omegaconf")
    return omegaconf is not None and isinstance(value, (omegaconf.DictConfig, omegaconf.ListConfig))


def _of_config(config: Any) -> dict[Any, Any]:
    return {key: _config_item(config, key) for key in config}


def _config_item(config: Any, key: Any) -> object:
    """A value of an OmegaConf config; missing values and failing interpolations stay as they were written."""
    omegaconf = sys.modules["omegaconf"]
    try:
        return "???" if omegaconf.OmegaConf.is_missing(config, key) else config[key]
    except omegaconf.errors.OmegaConfBaseException:
        return omegaconf.OmegaConf.to_container(config, resolve=False)[key]
