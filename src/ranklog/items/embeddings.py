"""Encoder of embeddings: vectors, with labels and images for a projector. Tensors wait for their device."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ranklog.abc import Content, Encoded
from ranklog.items.file_names import file_name
from ranklog.items.images import pillow_for
from ranklog.model import content
from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.model.spec import Scalar
from ranklog.model.text import storable
from ranklog.values.arrays import real_array
from ranklog.values.local import text_of
from ranklog.values.numbers import shown
from ranklog.values.pixels import pixels
from ranklog.values.refusing import wrong_item

MAX_SPRITE_PIXELS = 8192
"""Largest side of an image that browsers accept."""


def encode_embedding(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """Vectors, with one label per vector from ``metadata`` and one image per vector from ``label_img``.

    Raises:
        InvalidItemError: vectors, labels or images have other shapes than the kind allows.
    """
    import numpy as np

    given = real_array(item, f"embedding {name!r}", KINDS["embedding"].accepts)
    if given.ndim != 2 or 0 in given.shape:
        raise wrong_item(item, name, "embedding", f" of shape {given.shape}")
    with np.errstate(over="ignore"):
        vectors = given.astype(np.float32)
    file_name(name)
    out = io.BytesIO()
    np.save(out, vectors, allow_pickle=False)
    files = [Content("vectors.npy", out.getvalue())]
    meta: dict[str, Scalar] = {}
    changed = _lost_in_float32(given, vectors)
    if (metadata := options["metadata"]) is not None:
        files.append(Content("metadata.tsv", _metadata(metadata, options["metadata_header"], len(vectors), name)))
    if (pictures := options["label_img"]) is not None:
        sprite, width, height, clipped = _sprite(pictures, len(vectors), name)
        files.append(Content("sprite.png", sprite))
        meta = {"sprite_width": width, "sprite_height": height}
        changed = "; ".join(filter(None, (changed, clipped)))
    return Encoded(content.FOLDER, tuple(files), meta, changed)


def _lost_in_float32(given: Any, vectors: Any) -> str:
    import numpy as np

    bad = int((~np.isfinite(vectors)).any(axis=1).sum())
    if not bad:
        return ""
    if np.isfinite(given).all():
        return f"{bad} of {len(vectors)} vectors have values beyond float32, which are stored as infinite"
    return f"{bad} of {len(vectors)} vectors have NaN or infinite values: projectors cannot place them"


def _metadata(rows: Any, header: Any, count: int, name: str) -> bytes:
    rows = [row if isinstance(row, (list, tuple)) else [row] for row in _as_list(rows, name)]
    header = None if header is None else [header] if isinstance(header, str) else _as_list(header, name)
    width = len(header) if header is not None else 1
    if len(rows) != count or any(len(row) != width for row in rows):
        raise InvalidItemError(
            f"embedding {name!r}: metadata must be one label for each of the {count} vectors, or with metadata_header "
            "one row per vector, with one cell per name"
        )
    # The projector reads the first line as names only if there are several columns.
    lines: list[Sequence[object]] = [*([header] if header is not None and width > 1 else []), *rows]
    return "".join("\t".join(_cell(cell) for cell in line) + "\n" for line in lines).encode()


def _as_list(values: Any, name: str) -> list[Any]:
    """Labels from an array, a tensor, a frame or any other iterable."""
    values = getattr(values, "values", values) if hasattr(values, "itertuples") else values
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise InvalidItemError(f"embedding {name!r}: metadata and its header are sequences, not {shown(values)}")
    return list(values)


def _cell(value: object) -> str:
    # Readers treat all of these as the end of a line.
    return " ".join(storable(text_of(value, "metadata=")).replace("\t", " ").splitlines()) or " "


def _sprite(pictures: Any, count: int, name: str) -> tuple[bytes, int, int, str]:
    """All images in one square image, as the projector expects.

    Returns:
        Its bytes, width and height of one image, and in words what was changed.
    """
    import numpy as np

    pillow = pillow_for("embedding")
    arrays, changed = pixels(pictures, f"label_img of embedding {name!r}")
    if len(arrays) != count or len({array.shape for array in arrays}) != 1:
        raise InvalidItemError(
            f"embedding {name!r}: label_img must be one image for each of the {count} vectors, all of one size"
        )
    height, width = arrays[0].shape[:2]
    side = math.ceil(math.sqrt(count))
    if side * max(height, width) > MAX_SPRITE_PIXELS:
        raise InvalidItemError(
            f"embedding {name!r}: {count} images of {width} by {height} make a square of more than "
            f"{MAX_SPRITE_PIXELS} pixels: give smaller ones"
        )
    square = np.zeros((side * height, side * width, *arrays[0].shape[2:]), dtype=np.uint8)
    for index, array in enumerate(arrays):
        top, left = divmod(index, side)
        square[top * height : (top + 1) * height, left * width : (left + 1) * width] = array
    out = io.BytesIO()
    pillow.fromarray(square).save(out, format="PNG")
    return out.getvalue(), width, height, changed
