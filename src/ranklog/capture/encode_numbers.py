"""Encodes what is computed from arrays: histograms, precision-recall curves and embeddings.

Takes numbers as arrays, tensors or lists; a tensor is brought to the CPU, which waits for its device.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ranklog.capture.encode_plain import as_json
from ranklog.capture.encoded import Content, Encoded, file_name, wrong_item
from ranklog.model import content
from ranklog.model.errors import InvalidArgumentError, InvalidItemError
from ranklog.model.spec import Scalar
from ranklog.model.text import storable

MAX_BINS = 10_000
MAX_SPRITE_PIXELS = 8192
"""What browsers take as the side of one picture."""


def to_array(item: Any) -> Any:
    """A numpy array of what is an array, a tensor or a list of numbers; low-precision floats become float32."""
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(item, torch.Tensor):
        item = item.detach().to("cpu")
        item = (item.float() if item.is_floating_point() and item.dtype != torch.float64 else item).numpy()
    return np.asarray(item)


def encode_histogram(item: Any, name: str, bins: Scalar) -> Encoded:
    """Counts of values in ``bins`` bins of equal width, or counts and edges as they are given."""
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(item, torch.Tensor):
        item = to_array(item)
    if isinstance(item, tuple) and len(item) == 2 and len(item[1]) == len(item[0]) + 1:
        counts, edges = (np.asarray(part, dtype=np.float64) for part in item)
        centres = (edges[:-1] + edges[1:]) / 2
        body = {
            "min": float(edges[0]),
            "max": float(edges[-1]),
            "sum": float(counts @ centres),
            "sum_squares": float(counts @ centres**2),
            "count": float(counts.sum()),
            "nonfinite": 0,
        }
    else:
        try:
            values = np.asarray(item, dtype=np.float64).ravel()
        except (TypeError, ValueError) as error:
            raise wrong_item(item, name, "histogram") from error
        if not isinstance(bins, int) or not 1 <= bins <= MAX_BINS:
            raise InvalidArgumentError(f"bins={bins!r} is not allowed: give an int from 1 to {MAX_BINS}")
        # A sum that is finite spares a copy of what may be millions of values.
        finite = values if np.isfinite(values.sum()) else values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        counts, edges = np.histogram(finite, bins=bins, range=(low, high))
        body = {
            "min": low,
            "max": high,
            "sum": float(finite.sum()),
            "sum_squares": float(finite @ finite),
            "count": float(finite.size),
            "nonfinite": int(values.size - finite.size),
        }
    body = {"edges": edges.tolist(), "counts": counts.tolist(), **body}
    data = as_json(body, name, "histogram")
    return Encoded(content.HISTOGRAM, (Content(file_name(name, ".json"), data),))


def encode_pr_curve(item: Any, name: str, num_thresholds: Scalar, weights: Any = None) -> Encoded:
    """Counts, precision and recall at thresholds of equal distance from 0 to 1.

    A score counts as positive where it is at or above the threshold, as in TensorBoard's ``pr_curve``.
    """
    import numpy as np

    if isinstance(num_thresholds, bool) or not isinstance(num_thresholds, int) or not 2 <= num_thresholds <= MAX_BINS:
        raise InvalidArgumentError(
            f"num_thresholds={num_thresholds!r} is not allowed: give an int from 2 to {MAX_BINS}"
        )
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise wrong_item(item, name, "pr_curve")
    try:
        labels, scores = (to_array(part).astype(np.float64).ravel() for part in item)
        weight = np.ones_like(scores) if weights is None else to_array(weights).astype(np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise wrong_item(item, name, "pr_curve", f" that is no array ({error})") from error
    if not labels.shape == scores.shape == weight.shape:
        sizes = f"{labels.size} labels, {scores.size} scores and {weight.size} weights"
        raise InvalidItemError(f"pr_curve {name!r} has {sizes}: give as many of each")
    if not (np.isin(labels, (0.0, 1.0)).all() and ((scores >= 0.0) & (scores <= 1.0)).all()):
        raise InvalidItemError(f"pr_curve {name!r} has labels other than 0 and 1, or scores outside 0 to 1")
    bucket = np.floor(scores * (num_thresholds - 1)).astype(np.int64)
    positive = np.bincount(bucket, weights=weight * labels, minlength=num_thresholds)
    negative = np.bincount(bucket, weights=weight * (1.0 - labels), minlength=num_thresholds)
    tp, fp = np.cumsum(positive[::-1])[::-1], np.cumsum(negative[::-1])[::-1]
    tn, fn = fp[0] - fp, tp[0] - tp
    tiny = np.finfo(np.float64).tiny
    curve = content.PrCurve(
        thresholds=np.linspace(0.0, 1.0, num_thresholds).tolist(),
        true_positives=tp.tolist(),
        false_positives=fp.tolist(),
        true_negatives=tn.tolist(),
        false_negatives=fn.tolist(),
        precision=(tp / np.maximum(tp + fp, tiny)).tolist(),
        recall=(tp / np.maximum(tp + fn, tiny)).tolist(),
    )
    return Encoded(content.PR_CURVE, (Content(file_name(name, ".json"), msgspec.json.encode(curve)),))


def encode_embedding(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """Vectors, with a label a vector where ``metadata`` gives one and a picture a vector where ``label_img`` does."""
    import numpy as np

    try:
        vectors = to_array(item).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise wrong_item(item, name, "embedding") from error
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise wrong_item(item, name, "embedding", f" of shape {vectors.shape}")
    file_name(name)
    out = io.BytesIO()
    np.save(out, vectors, allow_pickle=False)
    files = [Content("vectors.npy", out.getvalue())]
    meta: dict[str, Scalar] = {}
    if (metadata := options.get("metadata")) is not None:
        files.append(Content("metadata.tsv", _metadata(metadata, options.get("metadata_header"), len(vectors), name)))
    if (pictures := options.get("label_img")) is not None:
        sprite, width, height = _sprite(pictures, len(vectors), name)
        files.append(Content("sprite.png", sprite))
        meta = {"sprite_width": width, "sprite_height": height}
    return Encoded(content.FOLDER, tuple(files), meta)


def _metadata(rows: Any, header: Any, count: int, name: str) -> bytes:
    rows = [row if isinstance(row, (list, tuple)) else [row] for row in rows]
    width = len(header) if header is not None else 1
    if len(rows) != count or any(len(row) != width for row in rows):
        raise InvalidItemError(
            f"embedding {name!r}: metadata is a label for each of the {count} vectors, or with metadata_header as many "
            "cells as it has names"
        )
    # The projector takes the first line for names where there are several columns, and only there.
    lines: list[Sequence[object]] = [*([header] if width > 1 else []), *rows]
    return "".join("\t".join(_cell(cell) for cell in line) + "\n" for line in lines).encode()


def _cell(value: object) -> str:
    return storable(str(value)).replace("\t", " ").replace("\n", " ") or " "


def _sprite(pictures: Any, count: int, name: str) -> tuple[bytes, int, int]:
    """All pictures in a square of rows, as the projector asks for; its bytes, and width and height of one picture."""
    import numpy as np
    from PIL import Image

    from ranklog.capture.encode_media import pixels

    arrays = [pixels(picture, name, "embedding") for picture in pictures]
    if len(arrays) != count or len({array.shape for array in arrays}) != 1:
        raise InvalidItemError(
            f"embedding {name!r}: label_img is a picture for each of the {count} vectors, all of one size"
        )
    height, width = arrays[0].shape[:2]
    side = math.ceil(math.sqrt(count))
    if side * max(height, width) > MAX_SPRITE_PIXELS:
        raise InvalidItemError(
            f"embedding {name!r}: {count} pictures of {width} by {height} make a square of more than "
            f"{MAX_SPRITE_PIXELS} pixels: give smaller ones"
        )
    square = np.zeros((side * height, side * width, *arrays[0].shape[2:]), dtype=np.uint8)
    for index, array in enumerate(arrays):
        top, left = divmod(index, side)
        square[top * height : (top + 1) * height, left * width : (left + 1) * width] = array
    out = io.BytesIO()
    Image.fromarray(square).save(out, format="PNG")
    return out.getvalue(), width, height
