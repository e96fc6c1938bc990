"""Records and views as plain JSON, for programs.

Structs become objects with their field names and a ``type`` where they have a tag; bytes become base64. JSON
has no NaN: what is not finite becomes the text ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, which Python's
`float` and JavaScript's `Number` read back.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Plain: TypeAlias = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None


def to_plain(value: object) -> Plain:
    """A value made of structs, mappings, sequences and scalars as plain data."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE[str(value)]
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        head: dict[str, Plain] = {"type": tag} if isinstance(tag, str) else {}
        return head | {name: to_plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(name): to_plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(each) for each in value]
    raise TypeError(f"{type(value).__name__} has no plain form")


def to_json(value: object, *, indent: int | None = None) -> str:
    """As `to_plain`, as JSON text."""
    return json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
