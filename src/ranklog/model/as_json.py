"""Records and views as plain JSON, for programs.

Structs become objects with their field names, and a ``type`` if they have a tag; bytes become base64. JSON has no NaN
and no infinities, so such a number becomes null and a column of numbers stays one for every reader. The record that
holds it has an entry ``not_finite`` with the original value at the same place: ``"NaN"``, ``"Infinity"`` or
``"-Infinity"``, which Python's `float` and JavaScript's `Number` can read.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from ranklog.model.spec import Scalar

Plain: TypeAlias = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None

NOT_FINITE = "not_finite"
_NAMES = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def to_plain(value: object) -> Plain:
    """Return a value made of structs, mappings, sequences and scalars as plain data; a mapping counts as a record.

    Example:
        >>> to_plain({"loss": {"a": 0.5, "b": float("nan")}})
        {'loss': {'a': 0.5, 'b': None}, 'not_finite': {'loss': {'b': 'NaN'}}}
    """
    plain, lost = _split(value)
    if lost is not None and isinstance(plain, dict):
        plain[NOT_FINITE] = lost
    return plain


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return `to_plain` of a value as JSON text."""
    return json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def nonfinite_as_text(value: Scalar) -> Scalar:
    """Return a non-finite number as text, other values unchanged. For values that are not part of a column.

    Example:
        >>> nonfinite_as_text(float("-inf")), nonfinite_as_text(0.5)
        ('-Infinity', 0.5)
    """
    return _NAMES[str(value)] if isinstance(value, float) and not math.isfinite(value) else value


def nonfinite_values_as_text(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the values of a mapping, each as in `nonfinite_as_text`."""
    return {name: nonfinite_as_text(value) for name, value in values.items()}


def _split(value: object) -> tuple[Plain, Plain]:
    """Return the plain form of a value, and the numbers that JSON cannot hold, for the enclosing record."""
    if value is None or isinstance(value, (bool, int, str)):
        return value, None
    if isinstance(value, float):
        return (value, None) if math.isfinite(value) else (None, _NAMES[str(value)])
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii"), None
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        head: dict[str, Plain] = {"type": tag} if isinstance(tag, str) else {}
        fields = to_plain({name: getattr(value, name) for name in value.__struct_fields__})
        return (head | fields if isinstance(fields, dict) else fields), None
    if isinstance(value, Mapping):
        pairs = {str(name): _split(each) for name, each in value.items()}
        return {name: plain for name, (plain, _) in pairs.items()}, _lost(pairs)
    if isinstance(value, (list, tuple)):
        # A mapping in a list is a row, which counts as a record.
        pairs = {
            str(index): (to_plain(each), None) if isinstance(each, Mapping) else _split(each)
            for index, each in enumerate(value)
        }
        return [plain for plain, _ in pairs.values()], _lost(pairs)
    raise TypeError(f"{type(value).__name__} has no plain form")


def _lost(pairs: Mapping[str, tuple[Plain, Plain]]) -> Plain:
    return {name: lost for name, (_, lost) in pairs.items() if lost is not None} or None
