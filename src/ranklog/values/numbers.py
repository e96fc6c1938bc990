"""Reads one number of any type: Python's, numpy's, a tensor of one element, a Decimal, a Fraction.

The one rule for metrics, weights and numeric options. Pure; imports no large package.
"""

from __future__ import annotations

import reprlib
import sys
from decimal import Decimal
from fractions import Fraction
from numbers import Complex, Real
from typing import Any

from ranklog.model.errors import InvalidArgumentError
from ranklog.values.loaded import loaded
from ranklog.values.local import is_special_tensor, reading_number


def plain_number(value: Any) -> int | float | None:
    """The value as Python's own int, float or bool; None if it is not a real number, or is masked.

    Arrays and tensors of one element count, in any shape. Reading a tensor waits for its device.

    Raises:
        OverflowError: it is finite and beyond float64.

    Example:
        >>> from decimal import Decimal
        >>> plain_number(Decimal("0.5")), plain_number("0.5"), plain_number(1j)
        (0.5, None, None)
    """
    if isinstance(value, (bool, int, float)):
        return _own(value)
    if hasattr(value, "item") and hasattr(value, "shape"):
        value = _only_element(value)
        if isinstance(value, (bool, int, float)):
            return _own(value)
    if value is None or isinstance(value, (str, bytes, bytearray)) or is_complex(value):
        return None
    return _to_float(value)


def is_complex(value: object) -> bool:
    """Whether a number, array or tensor may have imaginary parts."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        return getattr(dtype, "kind", None) == "c" or getattr(dtype, "is_complex", False) is True
    return isinstance(value, Complex) and not isinstance(value, Real)


def shown(value: object) -> str:
    """A value as an error message shows it: short, for any type, and without communication."""
    if is_special_tensor(value):
        return f"a {type(value).__qualname__}"
    try:
        return reprlib.repr(value)
    except Exception:  # a repr of the user's own
        return f"<{type(value).__qualname__}>"


def number_option(value: object, option: str, allowed: str, *, low: float, high: float = float("inf")) -> float:
    """A numeric option of a call, as a finite float between two limits.

    Raises:
        InvalidArgumentError: it is not such a number; the message says which are allowed.
        InvalidItemError: a tensor of which this rank has no value.
    """
    number = _option(value, option)
    if number is None or not low <= number <= min(high, sys.float_info.max):
        raise InvalidArgumentError(f"{option}={shown(value)} is not allowed: give {allowed}")
    return float(number)


def whole_option(value: object, option: str, allowed: str, *, low: int, high: int = 2**63 - 1) -> int:
    """A numeric option of a call, as an int between two limits; 3.0 is 3.

    Raises:
        InvalidArgumentError: it is not such a number; the message says which are allowed.
        InvalidItemError: a tensor of which this rank has no value.
    """
    number = _option(value, option)
    if number is None or not low <= number <= high or number != int(number):
        raise InvalidArgumentError(f"{option}={shown(value)} is not allowed: give {allowed}")
    return int(number)


def _option(value: object, option: str) -> int | float | None:
    with reading_number(value, f"{option}=") as here:
        try:
            number = plain_number(here)
        except Exception:  # the value may have methods of the user's own
            return None
    return None if isinstance(number, bool) else number


def _own(value: int | float) -> int | float:
    """The same number as an exact builtin: the journal's encoding refuses subclasses."""
    if type(value) in (int, float, bool):
        return value
    return int(value) if isinstance(value, int) else float(value)


def _only_element(array: Any) -> Any:
    numpy = loaded("numpy")
    if numpy is not None and isinstance(array, numpy.ma.MaskedArray) and numpy.ma.getmaskarray(array).any():
        return None
    if getattr(getattr(array, "dtype", None), "kind", None) in ("M", "m"):
        return None  # a date or duration, for which numpy gives an int where Python's type is too coarse or too short
    size = 1
    for length in array.shape:
        size *= length
    return array.item() if size == 1 else None


def _to_float(value: Any) -> float | None:
    if not isinstance(value, (Decimal, Fraction)) and not hasattr(value, "__float__"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):  # a signaling NaN, bytes in an array
        return None
    if number in (float("inf"), float("-inf")) and value != number:
        raise OverflowError(f"{shown(value)} is beyond float64")
    return number
