"""Writes an object to a file in a format that is safe to read, never pickle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranklog.items.file_names import file_name
from ranklog.items.text import as_json
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.errors import InvalidItemError, RanklogError
from ranklog.model.text import storable
from ranklog.values.loaded import loaded
from ranklog.values.local import reading
from ranklog.values.refusing import refusing


def serialize_to(obj: Any, name: str, directory: Path) -> Path:
    """Write ``obj`` below ``directory`` under ``name`` and return the absolute path.

    bytes and str are written as they are, numpy arrays as ``.npy``, tensors and state dicts with ``torch.save``
    (loadable with ``weights_only=True``), other objects as JSON like kind ``dict``.

    Raises:
        InvalidItemError: there is no safe format for it.
        RanklogError: the disk refuses the file.
    """
    path = directory.absolute() / file_name(name)
    data = _to_bytes(obj, name)
    try:
        make_private_dir(path.parent)
        write_private(path, data)
    except OSError as error:
        raise RanklogError(f"serialize({name!r}) cannot write {path}: {error}") from error
    return path


def _to_bytes(obj: Any, name: str) -> bytes:
    with reading(f"serialize: {name!r}"):
        return _in_safe_format(obj, name)


def _in_safe_format(obj: Any, name: str) -> bytes:
    if isinstance(obj, (bytes, bytearray)):
        return bytes(obj)
    if isinstance(obj, str):
        return storable(obj).encode()
    numpy = loaded("numpy")
    if numpy is not None and isinstance(obj, numpy.ndarray) and not obj.dtype.hasobject:
        out = io.BytesIO()
        numpy.save(out, obj, allow_pickle=False)
        return out.getvalue()
    try:
        with refusing("it"):
            if (torch := loaded("torch")) is not None and _has_tensor(torch, obj):
                from ranklog.items.tensors import tensor_bytes

                return tensor_bytes(obj, name)
            return as_json(obj, name, "JSON")
    except InvalidItemError as error:
        raise InvalidItemError(
            f"serialize({name!r}): no safe format for a {type(obj).__qualname__}: give bytes, str, an array, tensors "
            f"or what JSON can express ({error})"
        ) from error


def _has_tensor(torch: Any, obj: Any) -> bool:
    parts = obj.values() if isinstance(obj, Mapping) else obj if isinstance(obj, (list, tuple)) else ()
    return isinstance(obj, torch.Tensor) or any(_has_tensor(torch, part) for part in parts)
