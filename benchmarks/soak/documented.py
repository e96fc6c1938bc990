"""Errors that the docstring of a public call lists."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^Raises:\n((?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)", re.MULTILINE)
_ERROR = re.compile(r"^ {4}(\w+): ", re.MULTILINE)


def documented_errors(call: object) -> set[str]:
    """Names of the errors in the ``Raises:`` section of a class, function or property."""
    section = _SECTION.search(inspect.getdoc(call) or "")
    return set(_ERROR.findall(section[1])) if section else set()
