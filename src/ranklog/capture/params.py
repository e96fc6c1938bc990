"""Flattens hyper-parameters: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ranklog.model.kinds import check_name
from ranklog.model.spec import Scalar
from ranklog.model.text import storable


def flatten(params: Mapping[Any, Any], prefix: str = "") -> dict[str, Scalar]:
    """One level of names joined by dots; what is no scalar becomes its stable text.

    Example:
        >>> flatten({"lr": 0.1, "optimizer": {"name": "adam", "betas": (0.9, 0.999)}})
        {'lr': 0.1, 'optimizer.name': 'adam', 'optimizer.betas': '[0.9, 0.999]'}
    """
    out: dict[str, Scalar] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            out.update(flatten(value, f"{name}."))
        else:
            out[check_name(name)] = _scalar(value)
    return out


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return _scalar(value.item())
    return storable(_text(value))


def _text(value: Any) -> str:
    """Text without memory addresses, so that a resumed run gives the same."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(_text(v) for v in value)) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, type) or callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    text = str(value)
    return f"{type(value).__module__}.{type(value).__qualname__}" if " at 0x" in text else text
