"""Converts Python values to plain data: exact builtins that the journal and every JSON reader can hold. Pure.

The one rule for parameters, tables, dicts and options of items. `to_scalar` converts one value, `to_plain` a container,
`key_text` keys and column names. The rule is documented in ``docs/reference/kinds.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

from ranklog.model.spec import Scalar
from ranklog.model.text import storable, type_text
from ranklog.values.fields import dimensions_of, elements_of, fields_of
from ranklog.values.loaded import loaded
from ranklog.values.numbers import shown

MAX_DEPTH = 100
INT_LIMIT = 2**63
"""JSON readers such as pyarrow and pandas have 64 bits for an int."""

Plain = Scalar | list[Any] | dict[str, Any]


class NotPlain(ValueError):  # noqa: N818 - a reason for the caller's own error
    """A value cannot become plain data; the message says why."""


class NoScalar:
    """Type of the result of `to_scalar` for a value that is not a scalar."""


NO_SCALAR = NoScalar()


def to_scalar(value: Any) -> Scalar | NoScalar:
    """One value as an exact builtin, or as text without loss; `NO_SCALAR` for other values.

    Example:
        >>> from decimal import Decimal
        >>> to_scalar(Decimal("0.10")), to_scalar(1 + 2j), to_scalar(2**64), to_scalar(b"raw")
        ('0.10', '1+2j', '18446744073709551616', "b'raw'")
    """
    if value is None:
        return None
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _sized(int.__int__(value))
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Enum):
        return storable(str(value))
    if dimensions_of(value) == 0 and hasattr(value, "tolist"):
        return _of_zero_dimensions(value)
    return _as_text(value)


def _sized(number: int) -> Scalar:
    if -INT_LIMIT <= number < INT_LIMIT:
        return number
    try:
        return str(number)
    except ValueError:  # more digits than Python converts
        return hex(number)


def _of_zero_dimensions(value: Any) -> Scalar | NoScalar:
    """A numpy scalar, or an array or tensor without dimensions."""
    kind = getattr(value.dtype, "kind", "")
    if kind in ("m", "M"):
        text = str(value)
        return None if text == "NaT" else text
    item = value.tolist()  # unlike item, it supports numpy's masked values
    if type(item) is not type(value):
        return to_scalar(item)
    if kind == "f":  # longer than float64
        number = float(value)
        return number if number == value or number != number else str(value)  # noqa: PLR0124 - NaN
    return _complex_text(item) if kind == "c" else NO_SCALAR


def _as_text(value: Any) -> Scalar | NoScalar:
    if isinstance(value, complex):
        return _complex_text(value)
    pandas = loaded("pandas")
    if pandas is not None:
        if value is pandas.NA or value is pandas.NaT:
            return None
        if isinstance(value, (pandas.Interval, pandas.Period)):
            return storable(str(value))
    if isinstance(value, (Decimal, Fraction, UUID, PurePath, timedelta)):
        return storable(str(value))
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return repr(bytes(value))
    return NO_SCALAR


def _complex_text(value: object) -> str:
    return str(value).removeprefix("(").removesuffix(")")


def key_text(key: Any) -> str:
    """A key or the name of a column as text: as JSON writes it; of a tuple the parts joined by slashes.

    Raises:
        NotPlain: it can be no key.

    Example:
        >>> key_text(1), key_text(True), key_text(("loss", "mean")), key_text(0.5)
        ('1', 'true', 'loss/mean', '0.5')
    """
    if isinstance(key, tuple):
        return "/".join(text for part in key if (text := key_text(part)))
    scalar = to_scalar(key)
    if isinstance(scalar, NoScalar):
        raise NotPlain(f"{shown(key)} cannot be a key: give a str")
    if scalar is None or isinstance(scalar, bool):
        return {None: "null", True: "true", False: "false"}[scalar]
    return str(scalar)


def keyed(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Pairs by the texts of their keys.

    Raises:
        NotPlain: two keys become one text.
    """
    out: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for key, value in pairs:
        text = key_text(key)
        if text in out:
            raise NotPlain(f"the keys {shown(given[text])} and {shown(key)} both become {text!r}: rename one")
        out[text] = value
        given[text] = key
    return out


def to_plain(value: Any, other: Callable[[Any], Scalar] | None = None) -> Plain:
    """A value with everything that it contains, as builtins. Floats stay floats, also NaN and infinities.

    Args:
        value: Anything.
        other: Makes a scalar from a value without fields or elements; None refuses such values.

    Raises:
        NotPlain: a value has no plain form, keys collide, or it is nested too deeply or contains itself.
    """
    return _Walk(other).plain(value)


class Inside:
    """The containers around a value; refuses containers that contain themselves, and too many levels."""

    def __init__(self) -> None:
        self._ids: list[int] = []

    def enter(self, value: object) -> None:
        """Enter a container.

        Raises:
            NotPlain: it contains itself, or is nested too deeply.
        """
        if id(value) in self._ids:
            raise NotPlain(f"{type_text(value)} in it contains itself: remove that part")
        if len(self._ids) >= MAX_DEPTH:
            raise NotPlain(f"it is nested deeper than {MAX_DEPTH} levels: flatten it")
        self._ids.append(id(value))

    def leave(self) -> None:
        """Leave the last container."""
        self._ids.pop()


class _Walk:
    def __init__(self, other: Callable[[Any], Scalar] | None) -> None:
        self._other = other
        self._inside = Inside()

    def plain(self, value: Any) -> Plain:
        # The types of nearly all cells come first, by identity, because a table has many cells.
        kind = type(value)
        if kind is str:
            return value if value.isascii() else storable(value)
        if kind is float or kind is bool or value is None:
            return value  # type: ignore[no-any-return]
        if kind is int:
            return _sized(value)
        scalar = to_scalar(value)
        if not isinstance(scalar, NoScalar):
            return scalar
        if (numbers := _numbers(value)) is not None:
            return numbers
        self._inside.enter(value)
        try:
            if (named := fields_of(value)) is not None:
                return {key: self.plain(each) for key, each in keyed(named.items()).items()}
            if (row := _row_of(value)) is not None:
                return {key: self.plain(each) for key, each in keyed(row.items()).items()}
            if (elements := elements_of(value)) is not None:
                return [self.plain(each) for each in elements]
        finally:
            self._inside.leave()
        if self._other is None:
            raise NotPlain(f"it holds {type_text(value)}, which has no JSON form: give its str(…), or its values")
        return self._other(value)


def _row_of(value: Any) -> Mapping[str, Any] | None:
    """A row of a structured array, by field names."""
    names = getattr(getattr(value, "dtype", None), "names", None)
    if not names or dimensions_of(value) != 0:
        return None
    return {name: value[name] for name in names}


def _numbers(value: Any) -> list[Any] | None:
    """A numpy array of numbers as lists, at once; None if its elements have to be converted one by one."""
    numpy = loaded("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.ndim == 0:
        return None
    kind, size = value.dtype.kind, value.dtype.itemsize
    if kind in "bi" or (kind == "f" and size <= 8) or (kind == "u" and (size < 8 or not (value >= INT_LIMIT).any())):
        return value.tolist()  # type: ignore[no-any-return]
    return None
