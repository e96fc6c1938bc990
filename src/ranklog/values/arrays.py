"""Reads arrays, tensors and lists of numbers: one rule for all kinds of items that consist of numbers.

Out: numpy arrays of bool, integers, float32 or float64 in the machine's byte order. Refused, with the cure in the
message: types that would lose something silently (complex, masked), and types without numbers (text, dates,
structures, tensors without values). A tensor is copied to the CPU, which waits for its device.
"""

from __future__ import annotations

import sys
from typing import Any

from ranklog.model.errors import InvalidItemError, RanklogError
from ranklog.values.loaded import loaded
from ranklog.values.numbers import plain_number, shown
from ranklog.values.refusing import refused

COMPLEX_CURE = "abs(), .real or .imag of it, since its imaginary part would be lost"
_NO_NUMBERS = {"S": "bytes", "U": "text", "T": "text", "M": "dates", "m": "durations", "V": "structures"}


def to_array(item: Any) -> Any:
    """A numpy array from an array, a tensor or a list of numbers; low-precision floats become float32.

    The result may have any dtype of numpy. Errors of numpy and torch are raised as they are.
    """
    import numpy as np

    torch = loaded("torch")
    if torch is None:
        return np.asarray(item)
    if isinstance(item, torch.Tensor):
        return _from_tensor(torch, item)
    return np.asarray(_without_tensors(torch, item))


def real_array(item: Any, what: str, give: str) -> Any:
    """A numpy array of real numbers.

    Args:
        item: An array, a tensor, a number, or a (nested) list of these.
        what: Its name in error messages, for example ``"histogram 'h'"``.
        give: Allowed items, in words.

    Raises:
        InvalidItemError: it cannot be read as real numbers without loss.
    """
    import numpy as np

    _check_tensor(item, what)
    if isinstance(item, np.ma.MaskedArray) and np.ma.getmaskarray(item).any():
        raise refused(item, what, " with masked values", ".filled() or .compressed() of it")
    try:
        array = to_array(item)
    except RanklogError:
        raise
    except Exception as error:  # numpy, torch, or an __array__ of the user's own
        raise refused(item, what, f" that cannot be read as an array ({error})", give) from error
    return _as_real(array, item, what, give)


def _as_real(array: Any, item: Any, what: str, give: str) -> Any:
    import numpy as np

    kind = array.dtype.kind
    if kind == "c":
        raise refused(item, what, " of complex numbers", COMPLEX_CURE)
    if kind == "O":
        return _from_objects(array, item, what, give)
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite
        if kind == "V" and array.dtype.names is None and array.dtype.type is not np.void:
            return array.astype(np.float32)  # bfloat16 and float8 of packages other than numpy
        if kind in _NO_NUMBERS or kind not in "biuf":
            raise refused(item, what, f" of {_NO_NUMBERS.get(kind, array.dtype)}", give)
        if kind == "f":
            return array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64, copy=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _from_objects(array: Any, item: Any, what: str, give: str) -> Any:
    """Numbers that numpy stores as objects: large ints, Decimals, columns of a data frame."""
    import numpy as np

    numbers = np.empty(array.shape, dtype=np.float64)
    for index, value in enumerate(array.flat):
        try:
            number = plain_number(value)
            if number is None:
                raise refused(item, what, f" with {shown(value)} in it", give)
            numbers.flat[index] = float(number)
        except OverflowError:
            raise refused(item, what, f" with {shown(value)} in it, beyond float64", "smaller numbers") from None
    return numbers


def _check_tensor(item: Any, what: str) -> None:
    """Refuse tensors without values, and layouts that could be read in more than one way.

    Raises:
        InvalidItemError: it is one of these.
    """
    torch = loaded("torch")
    if torch is None or not isinstance(item, torch.Tensor):
        if hasattr(item, "toarray") and hasattr(item, "nnz"):
            raise refused(item, what, ", a sparse matrix", ".toarray() of it")
        return
    if item.is_nested:
        raise refused(item, what, " that is nested", ".to_padded_tensor(0) of it, or its parts")
    if has_no_values(item):
        raise refused(item, what, " without values (on the meta device, fake, or inside torch.vmap)", "a real one")
    if item.layout is not torch.strided:
        raise refused(item, what, " in a sparse layout", ".to_dense() of it, or its .values()")
    if item.dtype.is_complex:
        raise refused(item, what, " of complex numbers", COMPLEX_CURE)


def has_no_values(tensor: Any) -> bool:
    """Whether a tensor has no values that could be read, for example on the meta device."""
    torch = sys.modules["torch"]
    return (
        tensor.is_meta
        or hasattr(tensor, "fake_mode")
        or torch._C._functorch.is_batchedtensor(tensor)
        or isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin)
    )


def _from_tensor(torch: Any, tensor: Any) -> Any:
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor = tensor.to("cpu").resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float64, torch.float32):
        tensor = tensor.float()
    return tensor.numpy()


def _without_tensors(torch: Any, item: Any) -> Any:
    """Lists with arrays in place of tensors: numpy cannot read tensors that need gradients or are on a device."""
    if not isinstance(item, (list, tuple)) or set(map(type, item)) <= {float, int, bool}:
        return item
    return [
        _from_tensor(torch, each) if isinstance(each, torch.Tensor) else _without_tensors(torch, each) for each in item
    ]


def check_finite(array: Any, what: str, cure: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        InvalidItemError: there are some.
    """
    import numpy as np

    if not np.isfinite(array).all():
        raise InvalidItemError(f"{what} has NaN or infinite values: {cure}")
