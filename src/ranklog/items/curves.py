"""Encoder of precision-recall curves. A tensor is copied to the CPU, which waits for its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ranklog.abc import Content, Encoded
from ranklog.items.file_names import file_name
from ranklog.model import content
from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.values.arrays import real_array
from ranklog.values.refusing import wrong_item


def encode_pr_curve(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """Counts, precision and recall at equidistant thresholds from 0 to 1.

    A score at or above the threshold counts as positive, as in TensorBoard's ``pr_curve``.

    Args:
        item: Labels and scores.
        name: The identifier.
        options: ``num_thresholds``, and ``weights`` or None.

    Raises:
        InvalidItemError: the kind does not allow these labels, scores or weights.
    """
    import numpy as np

    num_thresholds = options["num_thresholds"]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise wrong_item(item, name, "pr_curve")
    labels, scores, weight = _labelled(item[0], item[1], options["weights"], f"pr_curve {name!r}")
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


def _labelled(labels: Any, scores: Any, weights: Any, what: str) -> tuple[Any, Any, Any]:
    """Labels, scores and weights as vectors of one length."""
    import numpy as np

    give = KINDS["pr_curve"].accepts
    given = {"labels": labels, "scores": scores}
    if weights is not None:
        given["weights"] = weights
    arrays = {part: real_array(value, f"{what}, {part},", give) for part, value in given.items()}
    if len({np.squeeze(array).shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{part} of shape {array.shape}" for part, array in arrays.items())
        raise InvalidItemError(f"{what} has {shapes}: give the same number of each")
    arrays = {part: array.astype(np.float64).ravel() for part, array in arrays.items()}
    if not np.isin(arrays["labels"], (0.0, 1.0)).all():
        raise InvalidItemError(f"{what} has labels other than 0 and 1: give {give}")
    if not ((arrays["scores"] >= 0.0) & (arrays["scores"] <= 1.0)).all():
        raise InvalidItemError(f"{what} has scores outside 0 to 1, or NaN: give {give}")
    weight = arrays.get("weights", np.ones_like(arrays["scores"]))
    with np.errstate(over="ignore"):
        bad = not (weight >= 0.0).all() or not np.isfinite(weight.sum())
    if bad:
        raise InvalidItemError(f"{what} has weights that are negative, NaN or infinite: give finite ones, 0 or above")
    return arrays["labels"], arrays["scores"], weight
