"""Modules that the program has already imported, so that ranklog imports no large package that it does not use."""

from __future__ import annotations

import sys
from typing import Any


def loaded(name: str) -> Any:
    """The module of that name if it is completely imported; None otherwise. Another thread may be importing it."""
    module = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module
