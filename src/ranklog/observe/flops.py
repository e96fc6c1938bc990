"""Counts a module's floating-point operations with torch's own counter: kinds ``flops_pb`` and ``flops_pe``.

In: a module and a batch, or a loader of batches. Out: a number, in the call. The module runs one forward in evaluation
mode without gradients, and no collective starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranklog.model.errors import InvalidItemError
from ranklog.values.loaded import loaded
from ranklog.values.local import local
from ranklog.values.refusing import wrong_item


def count_flops(kind: str, item: Any, name: str) -> float:
    """Operations of one batch (``flops_pb``) or one epoch (``flops_pe``).

    Raises:
        InvalidItemError: it is not what the kind takes.
    """
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise wrong_item(item, name, kind)
    model, data = item
    if kind == "flops_pb":
        return _flops(model, data, name, kind)
    if not hasattr(data, "__iter__") or not hasattr(data, "__len__"):
        raise wrong_item(data, name, kind, " that has no length or cannot be iterated")
    try:
        first, count = next(iter(data), None), len(data)
    except Exception as error:  # a loader may be anything, also an array without dimensions
        raise InvalidItemError(f"{kind} {name!r}: the loader gives no batch: {error}") from error
    return 0.0 if first is None else _flops(model, first, name, kind) * count


def _flops(model: Any, batch: Any, name: str, kind: str) -> float:
    """Operations of one forward, as torch's own counter gives them."""
    torch = loaded("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        raise wrong_item(model, name, kind)
    from torch.utils.flop_counter import FlopCounterMode

    from ranklog.items.model_formats import bare_module, evaluating
    from ranklog.items.sharded import refuse_forward

    model = bare_module(model, name, kind)
    refuse_forward(model, f"{kind} {name!r}", "count those of the module before it is sharded")
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) > 0:
        batch = batch[0]  # a loader gives inputs and targets
    batch = local(batch, f"the batch of {kind} {name!r}")
    device = next((parameter.device for parameter in model.parameters()), None)
    if isinstance(batch, torch.Tensor) and device is not None:
        batch = batch.to(device)
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), evaluating(model), counter:
            model(**batch) if isinstance(batch, dict) else model(batch)
    except Exception as error:
        raise InvalidItemError(f"{kind} {name!r}: the model cannot be run with the batch: {error}") from error
    return float(counter.get_total_flops())
