"""Backends by name, from the entry-point group ``ranklog.backends``."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from ranklog.abc import Backend
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.kinds import KINDS

_GROUP = "ranklog.backends"
_DEFAULT_FORM = "file"


def create_backend(name: str) -> Backend:
    """Create the backend of that name.

    Raises:
        InvalidArgumentError: no installed package has such a backend; the message lists the installed ones.
    """
    found = {point.name: point for point in entry_points(group=_GROUP)}
    if name not in found:
        raise InvalidArgumentError(
            f"backend {name!r} is not installed: choose one of {', '.join(sorted(found))}, or install its package"
        )
    return cast(Backend, found[name].load()())


def forms_of(name: str) -> dict[str, str]:
    """Return the form in which the backend of that name stores each kind.

    Raises:
        InvalidArgumentError: no installed package has such a backend.
    """
    forms = getattr(type(create_backend(name)), "FORMS", {})
    return {kind.name: forms.get(kind.name, _DEFAULT_FORM) for kind in KINDS.values() if kind.becomes is None}
