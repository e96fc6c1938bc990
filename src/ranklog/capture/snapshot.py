"""Snapshots of scalars, taken in the training thread without waiting for a device.

In: what users log as a metric: numbers, numpy scalars, 0-d tensors. Out: floats at once, or a `Deferred` that the
drain thread resolves later. A tensor on a device is copied into pinned memory behind an event; it is never read
by the training thread.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS


class Deferred(Protocol):
    """A value that is known later."""

    def resolve(self) -> float:
        """The value; may wait for the device. Not for the training thread."""


class _HostTensor:
    __slots__ = ("_event", "_tensor")

    def __init__(self, tensor: Any, event: Any = None) -> None:
        self._tensor = tensor
        self._event = event

    def resolve(self) -> float:
        if self._event is not None:
            self._event.synchronize()
        return float(self._tensor)


Value = float | Deferred


def take(value: object, name: str) -> Value:
    """Snapshot one scalar.

    Raises:
        InvalidItemError: when the value is no scalar.
    """
    if isinstance(value, (int, float)):
        return _to_float(value, name)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _take_tensor(torch, value, name)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "__float__"):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise InvalidItemError(f"metric {name!r} is {_describe(value)}: give {KINDS['metric'].accepts}")


def _to_float(value: float, name: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidItemError(f"metric {name!r} is an int that no float64 can hold: give a smaller number") from None


def _take_tensor(torch: Any, tensor: Any, name: str) -> Deferred:
    if tensor.numel() != 1 or tensor.is_complex():
        raise InvalidItemError(f"metric {name!r} is {_describe(tensor)}: give {KINDS['metric'].accepts}")
    tensor = tensor.detach()
    if tensor.device.type != "cuda":
        return _HostTensor(tensor.clone())
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(tensor.device))
    return _HostTensor(pinned, event)


def take_mapping(values: Mapping[str, object]) -> dict[str, Value]:
    """Snapshot a mapping of scalars.

    Raises:
        InvalidItemError: when a value is no scalar.
    """
    return {name: value if type(value) is float else take(value, name) for name, value in values.items()}


def resolve(values: Mapping[str, Value]) -> dict[str, float]:
    """Read what was deferred."""
    return {
        name: v if type(v) is float else float(v) if isinstance(v, int) else v.resolve()  # type: ignore[union-attr]
        for name, v in values.items()
    }


def _describe(value: object) -> str:
    shape = getattr(value, "shape", None)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"a {kind} of shape {tuple(shape)}" if shape else f"a {kind}"
