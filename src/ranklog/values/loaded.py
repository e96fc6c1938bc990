"""Modules that the program has imported already, so that nothing large is imported for what it does not use."""

from __future__ import annotations

import sys
from typing import Any


def loaded(name: str) -> Any:
    """The module of that name if it is imported, and wholly so: another thread may be in the midst of it; else None."""
    module = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module
