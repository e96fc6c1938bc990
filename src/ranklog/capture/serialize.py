"""Writes an object to a file in a format that is safe to read back: never pickle."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import msgspec

from ranklog.capture.encoded import file_name
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.errors import InvalidItemError
from ranklog.model.text import storable


def serialize_to(obj: Any, name: str, directory: Path) -> Path:
    """Write ``obj`` below ``directory`` under ``name`` and return the absolute path.

    bytes and str are written as they are, numpy arrays as ``.npy``, tensors and state dicts with ``torch.save``
    (loadable with ``weights_only=True``), anything else as JSON.

    Raises:
        InvalidItemError: there is no safe format for it.
    """
    path = directory.absolute() / file_name(name)
    make_private_dir(path.parent)
    write_private(path, _to_bytes(obj, name))
    return path


def _to_bytes(obj: Any, name: str) -> bytes:
    if isinstance(obj, (bytes, bytearray)):
        return bytes(obj)
    if isinstance(obj, str):
        return storable(obj).encode()
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(obj, numpy.ndarray) and obj.dtype != object:
        out = io.BytesIO()
        numpy.save(out, obj, allow_pickle=False)
        return out.getvalue()
    try:
        return msgspec.json.encode(obj)
    except (TypeError, ValueError):
        pass
    if "torch" in sys.modules:
        from ranklog.capture.encode_torch import encode_tensors

        try:
            return encode_tensors(obj, name)
        except InvalidItemError:
            pass
    raise InvalidItemError(
        f"serialize({name!r}): no safe format for a {type(obj).__qualname__}: give bytes, str, an array, tensors "
        "or what JSON can express"
    )
