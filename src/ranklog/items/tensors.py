"""Encoder of tensors and structures of tensors, in a form that ``torch.load(..., weights_only=True)`` reads back.

`torch.save` writes the whole storage of a tensor, although a view may need only one element of it. Here a view is
written without the rest, unless other tensors of the same structure need it.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from ranklog.abc import Content, Encoded
from ranklog.items.file_names import file_name
from ranklog.model import content
from ranklog.model.errors import InvalidItemError, MissingExtraError
from ranklog.model.kinds import KINDS
from ranklog.values.arrays import has_no_values
from ranklog.values.local import local
from ranklog.values.numbers import plain_number
from ranklog.values.refusing import refused

_DEEPEST = 100


def torch_for(kind: str) -> Any:
    """Torch, imported.

    Raises:
        MissingExtraError: torch is missing.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f'kind={kind!r} needs torch: pip install "ranklog[torch]"') from error
    return torch


def encode_torch(item: Any, name: str, options: Mapping[str, Any]) -> Encoded:
    """A tensor or a structure of tensors; see `tensor_bytes`."""
    return Encoded(content.TORCH, (Content(file_name(name, ".pt"), tensor_bytes(item, name)),))


def tensor_bytes(item: object, name: str) -> bytes:
    """Bytes of a tensor or a structure of tensors.

    Raises:
        InvalidItemError: it holds anything but tensors, numbers, texts and containers of these.
    """
    torch = torch_for("torch")
    what = f"torch {name!r}"
    made = _Plain(torch, what).of(item)
    out = io.BytesIO()
    try:
        torch.save(without_unused(torch, made), out)
    except Exception as error:  # torch refuses some layouts and dtypes with errors of many types
        raise InvalidItemError(f"{what} cannot be saved by torch: {error}") from error
    return out.getvalue()


class _Plain:
    """Rebuilds a structure from types that load without pickle: no subclasses, no added attributes.

    Args:
        torch: The module.
        what: What the structure is, for errors.
    """

    def __init__(self, torch: Any, what: str) -> None:
        self._torch = torch
        self._what = what
        self._known: dict[int, Any] = {}

    def of(self, item: Any, depth: int = 0) -> Any:
        """The same structure of plain objects. A tensor that it contains twice stays one object.

        Raises:
            InvalidItemError: something in it does not load without pickle.
        """
        if depth > _DEEPEST:
            raise InvalidItemError(f"{self._what} is deeper than {_DEEPEST} levels, or contains itself: flatten it")
        if isinstance(item, self._torch.Tensor):
            if id(item) not in self._known:
                self._known[id(item)] = self._tensor(local(item, self._what))
            return self._known[id(item)]
        if isinstance(item, Mapping):
            made: dict[Any, Any] = OrderedDict() if isinstance(item, OrderedDict) else {}
            for key, value in item.items():
                made[self._leaf(key, ", a key,")] = self.of(value, depth + 1)
            if isinstance(item, OrderedDict) and hasattr(item, "_metadata"):
                # The versions in a state dict, by which modules read old state dicts.
                made._metadata = item._metadata  # type: ignore[attr-defined]
            return made
        if isinstance(item, (list, tuple)):
            parts = [self.of(each, depth + 1) for each in item]
            return tuple(parts) if isinstance(item, tuple) else parts
        return item if item is None else self._leaf(item, ", an entry," if depth else "")

    def _leaf(self, item: Any, part: str = "") -> Any:
        if isinstance(item, str):
            return str(item)
        one = isinstance(item, (int, float)) or (hasattr(item, "item") and getattr(item, "shape", None) == ())
        number = plain_number(item) if one else None
        if number is None:
            raise refused(item, f"{self._what}{part}", "", KINDS["torch"].accepts)
        return number

    def _tensor(self, tensor: Any) -> Any:
        torch = self._torch
        if has_no_values(tensor):
            raise refused(tensor, self._what, " without values", "a tensor that has values")
        if hasattr(tensor, "__tensor_flatten__") and not tensor.is_nested:
            raise refused(tensor, self._what, ", which does not load without its class", "the plain tensor behind it")
        bare = tensor.detach()
        if type(bare) is not torch.Tensor and not tensor.is_nested:
            bare = bare.as_subclass(torch.Tensor)
        if isinstance(tensor, torch.nn.Parameter):
            return torch.nn.Parameter(bare, tensor.requires_grad)
        # torch loads no one-byte tensor that requires gradients; the values matter more.
        return bare.requires_grad_() if tensor.requires_grad and tensor.element_size() > 1 else bare


def without_unused(torch: Any, item: Any) -> Any:
    """The structure, with views copied out of storages that are mostly unused."""
    used: dict[tuple[Any, int], set[tuple[Any, ...]]] = {}
    sizes: dict[tuple[Any, int], int] = {}
    for tensor in _tensors(torch, item):
        if (storage := _storage(torch, tensor)) is not None:
            used.setdefault(storage, set()).add(_place(tensor))
            sizes[storage] = tensor.untyped_storage().nbytes()
    # Overlapping views count twice: then the shared storage is smaller than the copies.
    wasteful = {storage for storage, places in used.items() if sum(map(_needed, places)) < sizes[storage]}
    return _replaced(torch, item, wasteful, {}) if wasteful else item


def _tensors(torch: Any, item: Any) -> Iterator[Any]:
    if isinstance(item, torch.Tensor):
        yield item
    elif isinstance(item, Mapping):
        for value in item.values():
            yield from _tensors(torch, value)
    elif type(item) in (list, tuple):
        for value in item:
            yield from _tensors(torch, value)


def _storage(torch: Any, tensor: Any) -> tuple[Any, int] | None:
    """The storage of a plain tensor; None for tensors without one, or that torch writes in another way."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout is not torch.strided:
        return None
    if tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        return None
    return tensor.device, tensor.untyped_storage().data_ptr()


def _place(tensor: Any) -> tuple[Any, ...]:
    return tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()), tensor.element_size(), tensor.dtype


def _needed(place: tuple[Any, ...]) -> int:
    """Bytes that a copy of the view needs."""
    _, shape, strides, element_size, _ = place
    count, span = 1, 1
    for length, stride in zip(shape, strides, strict=True):
        count *= length
        span += (length - 1) * stride
    return max(0, min(count, span)) * int(element_size)


def _replaced(torch: Any, item: Any, wasteful: set[tuple[Any, int]], made: dict[Any, Any]) -> Any:
    if isinstance(item, torch.Tensor):
        storage = _storage(torch, item)
        if storage not in wasteful:
            return item
        key = (storage, _place(item), type(item), item.requires_grad, item.is_conj(), item.is_neg())
        if key not in made:
            made[key] = _copied(torch, item)
        return made[key]
    if isinstance(item, Mapping):
        # A copy of its own type keeps the versions in a state dict.
        copied: Any = item.copy() if hasattr(item, "copy") else dict(item)
        for name, value in item.items():
            copied[name] = _replaced(torch, value, wasteful, made)
        if hasattr(item, "_metadata"):
            copied._metadata = item._metadata
        return copied
    if type(item) in (list, tuple):
        return type(item)(_replaced(torch, value, wasteful, made) for value in item)
    return item


def _copied(torch: Any, tensor: Any) -> Any:
    place, bare = _place(tensor), tensor.detach()
    if bare.is_conj() or bare.is_neg():
        copy = bare.resolve_conj().resolve_neg()
    elif _needed(place) < tensor.numel() * tensor.element_size():
        # An expanded view: store its elements once.
        span = _needed(place) // tensor.element_size()
        copy = torch.as_strided(bare, (span,), (1,), tensor.storage_offset()).clone().as_strided(*place[1:3], 0)
    else:
        copy = bare.clone()
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(copy, tensor.requires_grad)
    return copy.requires_grad_() if tensor.requires_grad else copy
