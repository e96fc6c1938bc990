"""Logs hyperparameters: flattens them to names and scalars.

In: mappings, configs and objects with named fields. Out: one record with one level of names and exact scalars, by the
rule of `ranklog.values.plain`. Lists and arrays become JSON. Other objects become a text that is the same in a resumed
run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ranklog.logger.collective import CollectiveLogger
from ranklog.model.errors import InvalidItemError
from ranklog.model.record import Params
from ranklog.model.spec import Scalar
from ranklog.model.text import check_name, storable, type_text
from ranklog.values.fields import fields_of
from ranklog.values.local import reading
from ranklog.values.numbers import shown
from ranklog.values.plain import Inside, NoScalar, NotPlain, key_text, to_plain, to_scalar
from ranklog.values.refusing import refusing
from ranklog.values.tables import columns_and_rows

if TYPE_CHECKING:
    from ranklog.abc import Call, Sink

MAX_CHARS = 64 * 1024
"""Longest text of one parameter; longer ones are cut and get a digest."""
MAX_ELEMENTS = 20_000
"""Largest array that becomes a text."""
MAX_TOTAL_CHARS = 8 * 1024 * 1024
_HEAD_CHARS = 200
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class HyperparameterLogger(CollectiveLogger):
    """An open logger that takes hyperparameters; `ranklog.logger.logger.Logger` adds logging."""

    def save_hyperparameters(self, params: Any) -> None:
        """Log hyperparameters, whatever ``log_freq`` is. Nested names are joined with dots.

        Args:
            params: A mapping, or an object with named fields: an ``argparse.Namespace``, a dataclass, an attrs class, a
                pydantic model, an OmegaConf config.

        Raises:
            InvalidArgumentError: a name is not allowed.
            InvalidItemError: the object has no named fields, or two of them get the same name.
            NotStartedError: the logger is not open.

        Ranks: all call; the values of the lowest rank in ``log_on_workers`` are logged. Does not block.
        """
        gate = self._gate
        if gate is None:
            self._not_started("save_hyperparameters")
        if fields_of(params) is None:
            raise InvalidItemError(
                f"save_hyperparameters takes a mapping or an object with named fields, not {type_text(params)}"
            )
        submit_params(params, gate.lead, None if self._session is None else self._session.sink)


def take(call: Call, sink: Sink) -> None:
    """Submit one parameter, or several as a mapping or config object.

    Raises:
        InvalidItemError: see `flatten`.
        InvalidArgumentError: a name is not allowed.
    """
    submit_params({call.name: call.item} if fields_of(call.item) is None else call.item, call.lead, sink)


def submit_params(params: Any, to: int, sink: Sink | None) -> None:
    """Flatten parameters, also on ranks that submit nothing, and submit them.

    Args:
        params: A mapping, or an object with named fields.
        to: Backends for which this rank gives the parameters; 0 for none.
        sink: Takes them; None where the logger logs nothing.

    Raises:
        InvalidItemError: see `flatten`.
        InvalidArgumentError: a name is not allowed.
    """
    changes: list[str] = []
    with reading("a parameter"):
        values = flatten(params, changes.append)
    if values and to and sink is not None:
        for text in changes:
            sink.report("changed_param", text)
        sink.submit(Params(time.time_ns(), to, values))


def flatten(params: Any, tell: Callable[[str], None] = lambda _: None) -> dict[str, Scalar]:
    """One level of names joined with dots; objects that are not scalars become a stable text.

    Args:
        params: A mapping, or an object with named fields.
        tell: Called with a text when a parameter was cut.

    Raises:
        InvalidItemError: two keys become one name, a value contains itself, or the parameters are too large.
        InvalidArgumentError: a name is not allowed.

    Example:
        >>> flatten({"lr": 0.1, "optimizer": {"name": "adam", "betas": (0.9, 0.999)}})
        {'lr': 0.1, 'optimizer.name': 'adam', 'optimizer.betas': '[0.9, 0.999]'}
    """
    found = _Flat()
    with refusing("parameters"):
        found.take(params, fields_of(params) or {}, ())
    found.check_size()
    if found.cut:
        more = f" and {len(found.cut) - 1} more" if len(found.cut) > 1 else ""
        tell(
            f"parameter {found.cut[0]!r}{more} is longer than {MAX_CHARS} characters or {MAX_ELEMENTS} elements: its "
            "beginning and its digest are kept; log it with kind='dict' or 'artifact' to keep all"
        )
    return found.values


class _Flat:
    def __init__(self) -> None:
        self.values: dict[str, Scalar] = {}
        self._paths: dict[str, tuple[Any, ...]] = {}
        self._inside = Inside()
        self.cut: list[str] = []

    def take(self, owner: object, named: Mapping[Any, Any], path: tuple[Any, ...]) -> None:
        """Add the fields of a value below a path."""
        self._inside.enter(owner)
        for key, value in named.items():
            below = (*path, key)
            if inner := fields_of(value):
                self.take(value, inner, below)
            else:
                self._put(below, value)
        self._inside.leave()

    def _put(self, path: tuple[Any, ...], value: Any) -> None:
        name = check_name(".".join(map(key_text, path)))
        if name in self.values:
            raise NotPlain(f"{_spelled(self._paths[name])} and {_spelled(path)} both become {name!r}: rename one")
        self._paths[name] = path
        with refusing(f"parameter {name!r}"):
            self.values[name], whole = _value(value)
        if not whole:
            self.cut.append(name)

    def check_size(self) -> None:
        """Refuse parameters that are too large for a record of the journal."""
        total = sum(len(name) + (len(value) if isinstance(value, str) else 8) for name, value in self.values.items())
        if total > MAX_TOTAL_CHARS:
            raise InvalidItemError(
                f"parameters of {total} characters are more than {MAX_TOTAL_CHARS}: log them with kind='dict'"
            )


def _spelled(path: tuple[Any, ...]) -> str:
    return " → ".join(map(shown, path))


def _value(value: Any) -> tuple[Scalar, bool]:
    """A value as a scalar, and whether the scalar is complete."""
    scalar = to_scalar(value)
    if isinstance(scalar, NoScalar):
        if (digest := _array_digest(value)) is not None:
            return digest, False
        scalar = _text(value)
    if isinstance(scalar, str) and len(scalar) > MAX_CHARS:
        digest = hashlib.sha256(scalar.encode()).hexdigest()[:16]
        return f"{scalar[:_HEAD_CHARS]}… ({len(scalar)} characters, sha256 {digest})", False
    return scalar, True


def _array_digest(value: Any) -> str | None:
    """Type, shape and digest of an array or tensor of more than `MAX_ELEMENTS`; None for other values."""
    shape = getattr(value, "shape", None)
    if not hasattr(value, "dtype") or not isinstance(shape, tuple) or math.prod(shape) <= MAX_ELEMENTS:
        return None
    from ranklog.values.arrays import to_array

    array = to_array(value)
    if array.dtype.hasobject:
        return None
    digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
    return f"{array.dtype} array of shape {list(shape)}, sha256 {digest}"


def _text(value: Any) -> str:
    """JSON for containers, a description for other objects."""
    if hasattr(value, "itertuples") and hasattr(value, "columns") and (table := columns_and_rows(value)) is not None:
        value = {"columns": table.columns, "data": table.rows}
    plain = to_plain(value, _described)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _described(value: Any) -> str:
    """Text without memory addresses, so that a resumed run gives the same."""
    if isinstance(value, functools.partial):
        given = [*map(_argument, value.args), *(f"{name}={_argument(each)}" for name, each in value.keywords.items())]
        return f"functools.partial({', '.join([_text(value.func), *given])})"
    if isinstance(name := getattr(value, "__qualname__", None), str):
        return storable(f"{getattr(value, '__module__', None) or 'builtins'}.{name}")
    kind: Any = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__:
        return name
    try:
        return storable(_ADDRESS.sub("", str(value)))
    except Exception:  # its text is made by code of other people
        return name


def _argument(value: Any) -> str:
    scalar = to_scalar(value)
    return _text(value) if isinstance(scalar, NoScalar) else repr(scalar)
