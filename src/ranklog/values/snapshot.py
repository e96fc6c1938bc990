"""Snapshots of metrics, taken in the training thread without waiting for a device.

In: numbers of any type, and arrays and tensors of one element. Out: floats, or a `Deferred` value that the drain thread
reads later. A tensor is copied on its own device, so that the program may change it right after the call; the training
thread never reads it. The tensors of one call that are on CUDA devices are transferred together
(`ranklog.values.cuda`). On other devices the drain thread reads each copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ranklog.model.errors import InvalidItemError
from ranklog.model.kinds import KINDS
from ranklog.model.text import type_text
from ranklog.values import cuda
from ranklog.values.arrays import COMPLEX_CURE, has_no_values
from ranklog.values.loaded import loaded
from ranklog.values.local import is_plain, local, no_collectives
from ranklog.values.numbers import is_complex, plain_number


class Deferred(Protocol):
    """A value that is known later."""

    def resolve(self) -> float:
        """The value; may wait for the device. Not for the training thread."""


class _Clone:
    """A copy of a plain tensor, on its own device."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor.detach().clone()

    def resolve(self) -> float:
        return float(self._tensor)


class _GuardedClone(_Clone):
    """A copy of a tensor whose class is not torch's own, and might communicate."""

    __slots__ = ("_what",)

    def __init__(self, tensor: Any, what: str) -> None:
        self._what = what
        with no_collectives(what):
            super().__init__(tensor)

    def resolve(self) -> float:
        with no_collectives(self._what):
            return super().resolve()


Value = float | Deferred
VALUE_BYTES = 100
"""Memory of one value, roughly."""
FEW_VALUES = 32
"""Calls with more values are counted one by one against the memory limit."""
VALUES_OF_ROOM = 3
"""Values that take as much memory as the smallest call; an inbox has room for so many such calls."""


def take(value: object, name: str) -> Value:
    """Snapshot one scalar.

    Raises:
        InvalidItemError: the value is not a scalar.
    """
    if isinstance(value, (int, float)):
        return _to_float(value, name)
    on_cuda: dict[str, Any] = {}
    taken = _take(value, name, on_cuda)
    return _from_cuda(on_cuda)[name] if on_cuda else taken


def take_mapping(values: Mapping[str, object]) -> dict[str, Value]:
    """Snapshot a mapping of scalars.

    Raises:
        InvalidItemError: a value is not a scalar.
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
        taken.update(_from_cuda(on_cuda))
    return taken


def _from_cuda(tensors: dict[str, Any]) -> dict[str, Deferred]:
    others = [name for name, tensor in tensors.items() if not is_plain(tensor)]
    if not others:
        return dict(cuda.take(tensors))
    with no_collectives(f"metric {others[0]!r}"):
        return dict(cuda.take(tensors))


def _take(value: Any, name: str, on_cuda: dict[str, Any]) -> Value:
    """Snapshot a value that is not a Python number. A CUDA tensor goes into ``on_cuda``, and 0 keeps its place."""
    torch = loaded("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return _to_float(value, name)
    what = f"metric {name!r}"
    tensor = _readable(torch, local(value, what), name)
    if tensor.device.type != "cuda":
        return _Clone(tensor) if is_plain(tensor) else _GuardedClone(tensor, what)
    on_cuda[name] = tensor
    return 0.0


def _readable(torch: Any, tensor: Any, name: str) -> Any:
    """A tensor of one element that can be read later.

    Raises:
        InvalidItemError: another thread could not read it.
    """
    if has_no_values(tensor) or tensor.is_nested or tensor.numel() != 1:
        raise _no_scalar(tensor, name)
    try:
        tensor = tensor.dequantize() if tensor.is_quantized else tensor
        tensor = tensor.to_dense() if tensor.layout is not torch.strided else tensor
    except (RuntimeError, TypeError) as error:  # torch does not support every layout for every dtype
        raise _no_scalar(tensor, name) from error
    dtype = tensor.dtype
    if dtype not in _real:
        _real[dtype] = _is_real(torch, dtype)
    if not _real[dtype]:
        raise _no_scalar(tensor, name)
    return tensor


_real: dict[Any, bool] = {}


def _is_real(torch: Any, dtype: Any) -> bool:
    """Whether tensors of a dtype hold real numbers. Some hold bits that torch itself cannot convert."""
    if dtype.is_complex:
        return False
    try:
        torch.empty(1, dtype=dtype, device="cpu").double()
    except Exception:
        return False
    return True


def _to_float(value: Any, name: str) -> float:
    try:
        number = plain_number(value)
        if number is not None:
            return float(number)
    except OverflowError:
        what = "an int that no float64 can hold" if isinstance(value, int) else "beyond float64"
        raise InvalidItemError(f"metric {name!r} is {what}: give a smaller number") from None
    except Exception as error:  # the value may have methods of the user's own
        raise _no_scalar(value, name) from error
    raise _no_scalar(value, name)


def _no_scalar(value: object, name: str) -> InvalidItemError:
    try:
        shape, imaginary = tuple(getattr(value, "shape", ())), is_complex(value)
    except Exception:  # nested tensors have no shape, and objects of the user's may raise anything
        shape, imaginary = (), False
    given = f"{type_text(value)} of shape {shape}" if shape else type_text(value)
    if imaginary:
        return InvalidItemError(f"metric {name!r} is {given}, a complex number: give {COMPLEX_CURE}")
    return InvalidItemError(f"metric {name!r} is {given}: give {KINDS['metric'].accepts}")
