"""The kinds that `log` takes, as one table.

`Kind.native` names what a backend that has no such kind stores instead: always the item's files as an artifact.
"""

from __future__ import annotations

import msgspec

from ranklog.model.errors import InvalidArgumentError


class Kind(msgspec.Struct, frozen=True):
    """One row of the table of kinds.

    Attributes:
        name: What the user writes as ``kind=``.
        accepts: What an item may be, in words, for error messages and the reference.
        reducible: Whether ``reduce=`` is allowed.
        options: Extra keyword arguments that `log` takes for this kind.
    """

    name: str
    accepts: str
    reducible: bool = False
    options: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "metric",
            "a number, a 0-d numpy array or torch tensor, or a mapping of names to these",
            reducible=True,
        ),
        Kind("param", "a str, number, bool or None, or a (nested) mapping of names to these"),
        Kind("text", "a str"),
        Kind("dict", "a mapping that JSON can express"),
        Kind("table", "a pandas DataFrame, (columns, rows), a mapping of columns, or a list of mappings"),
        Kind("histogram", "values as array, tensor or list, or (counts, edges)", options=("bins",)),
        Kind("image", "numpy or torch HWC, CHW or HW, a PIL image, or a path", options=("caption",)),
        Kind("figure", "a matplotlib or plotly figure"),
        Kind("artifact", "a path of a file or folder, or bytes"),
        Kind("torch", "a torch tensor, or a (nested) mapping or list of tensors, for example a state dict"),
        Kind("model", "a torch.nn.Module", options=("input_example",)),
        Kind("best_model", "a torch.nn.Module", options=("input_example",)),
    )
}

OPS = ("mean", "sum", "min", "max", "std", "median", "p99", "stats", "per_rank")


def check_kind(name: object) -> Kind:
    """Return the kind of that name.

    Raises:
        InvalidArgumentError: for an unknown name; lists the known ones.
    """
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidArgumentError(f"kind={name!r} is not known: give one of {', '.join(KINDS)}")
    return kind


def check_op(op: object) -> str | None:
    """Return ``op`` when it is a reduction or None.

    Raises:
        InvalidArgumentError: for anything else; lists the reductions.
    """
    if op is None or (isinstance(op, str) and op in OPS):
        return op
    raise InvalidArgumentError(f"reduce={op!r} is not known: give None or one of {', '.join(OPS)}")


def check_name(name: object) -> str:
    """Return ``name`` when it can identify something in every backend's safe form.

    Raises:
        InvalidArgumentError: when it is not a str of 1 to 512 printable characters.
    """
    if not isinstance(name, str):
        raise InvalidArgumentError(f"identifier={name!r} is not allowed: give a str, not {type(name).__name__}")
    if not name or len(name) > 512 or not name.isprintable():
        shown = ascii(name if len(name) <= 60 else name[:60] + "…")
        raise InvalidArgumentError(
            f"identifier={shown} is not allowed: give 1 to 512 printable characters (no newline, NUL or lone surrogate)"
        )
    return name
