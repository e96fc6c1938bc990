"""Snapshots of scalars, taken in the training thread without waiting for a device.

In: what users log as a metric: numbers, numpy scalars, tensors of one element. Out: floats at once, or a `Deferred`
that the drain thread resolves later. A tensor is copied where it lies, so that it may be changed right after the call,
and the training thread never reads it: from CUDA devices the copies of one call travel together
(`ranklog.capture.snapshot_cuda`), on other devices the drain thread reads each copy.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from ranklog.capture import snapshot_cuda
from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS


class Deferred(Protocol):
    """A value that is known later."""

    def resolve(self) -> float:
        """The value; may wait for the device. Not for the training thread."""


class _Clone:
    """A tensor's copy on its own device, of a kind that is read without more ado."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor.detach().clone()

    def resolve(self) -> float:
        return float(self._tensor)


Value = float | Deferred


def take(value: object, name: str) -> Value:
    """Snapshot one scalar.

    Raises:
        InvalidItemError: when the value is no scalar.
    """
    if isinstance(value, (int, float)):
        return _to_float(value, name)
    on_cuda: dict[str, Any] = {}
    taken = _take(value, name, on_cuda)
    return snapshot_cuda.take(on_cuda)[name] if on_cuda else taken


def take_mapping(values: Mapping[str, object]) -> dict[str, Value]:
    """Snapshot a mapping of scalars.

    Raises:
        InvalidItemError: when a value is no scalar.
    """
    on_cuda: dict[str, Any] = {}
    taken = {
        name: value
        if type(value) is float
        else _to_float(value, name)
        if isinstance(value, (int, float))
        else _take(value, name, on_cuda)
        for name, value in values.items()
    }
    if on_cuda:
        taken.update(snapshot_cuda.take(on_cuda))
    return taken


def _take(value: object, name: str, on_cuda: dict[str, Any]) -> Value:
    """Snapshot what is no Python number; a tensor on a CUDA device is put aside, and 0 holds its place in the order."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.is_complex():
            raise _no_scalar(value, name)
        if value.device.type != "cuda":
            return _Clone(value)
        on_cuda[name] = value
        return 0.0
    if getattr(value, "ndim", None) == 0 and hasattr(value, "__float__"):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise _no_scalar(value, name)


def _to_float(value: float, name: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidItemError(f"metric {name!r} is an int that no float64 can hold: give a smaller number") from None


def resolve(values: Mapping[str, Value]) -> dict[str, float]:
    """Read what was deferred."""
    return {
        name: v if type(v) is float else float(v) if isinstance(v, int) else v.resolve()  # type: ignore[union-attr]
        for name, v in values.items()
    }


def _no_scalar(value: object, name: str) -> InvalidItemError:
    shape = getattr(value, "shape", None)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    given = f"a {kind} of shape {tuple(shape)}" if shape else f"a {kind}"
    return InvalidItemError(f"metric {name!r} is {given}: give {KINDS['metric'].accepts}")
