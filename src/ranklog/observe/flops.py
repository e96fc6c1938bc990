"""Counts the floating-point operations of a forward, for kinds ``flops_pb`` (a batch) and ``flops_pe`` (an epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranklog.abc import Call
from ranklog.items.options import known_options
from ranklog.model.errors import InvalidItemError
from ranklog.values.loaded import loaded
from ranklog.values.local import local, no_collectives
from ranklog.values.refusing import wrong_item


def of_batch(call: Call) -> float:
    """Operations of one forward of the batch.

    Raises:
        InvalidItemError: it is not a module with a batch, or the forward fails.
    """
    model, batch = _pair(call)
    return _flops(model, batch, call)


def of_epoch(call: Call) -> float:
    """Operations of the forwards of all batches of a loader, each as large as the first.

    Raises:
        InvalidItemError: it is not a module with a loader, or the forward fails.
    """
    model, loader = _pair(call)
    if not hasattr(loader, "__iter__") or not hasattr(loader, "__len__"):
        raise wrong_item(loader, call.name, call.kind, " that has no length or cannot be iterated")
    try:
        first, count = next(iter(loader), None), len(loader)
    except Exception as error:  # a loader may be any object, also an array without dimensions
        raise InvalidItemError(f"{call.what}: the loader yields no batch: {error}") from error
    return 0.0 if first is None else _flops(model, first, call) * count


def _pair(call: Call) -> tuple[Any, Any]:
    known_options(call.kind, call.options)
    if not isinstance(call.item, (tuple, list)) or len(call.item) != 2:
        raise wrong_item(call.item, call.name, call.kind)
    model, data = call.item
    return model, data


def _flops(model: Any, batch: Any, call: Call) -> float:
    """Operations of one forward, counted by torch."""
    torch = loaded("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        raise wrong_item(model, call.name, call.kind)
    from torch.utils.flop_counter import FlopCounterMode

    from ranklog.items.model_formats import bare_module, evaluating
    from ranklog.items.sharded import refuse_forward

    model = bare_module(model, call.name, call.kind)
    refuse_forward(model, call.what, "count those of the module before it is sharded")
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) > 0:
        batch = batch[0]  # a loader gives inputs and targets
    batch = local(batch, f"the batch of {call.what}")
    device = next((parameter.device for parameter in model.parameters()), None)
    if isinstance(batch, torch.Tensor) and device is not None:
        batch = batch.to(device)
    counter = FlopCounterMode(display=False)
    try:
        with no_collectives(call.what), torch.no_grad(), evaluating(model), counter:
            model(**batch) if isinstance(batch, dict) else model(batch)
    except InvalidItemError:
        raise
    except Exception as error:
        raise InvalidItemError(f"{call.what}: the model cannot be run with the batch: {error}") from error
    return float(counter.get_total_flops())
