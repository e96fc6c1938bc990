"""Recognises a list of items that is logged under one identifier, for the kinds that may be lists. Pure.

Each function takes the logged object and its name in messages. It returns the items, and in words what was changed;
None for a single item.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any

from ranklog.values.pixels import pixels

_IMAGES_DIMENSIONS = 4
_VIDEOS_DIMENSIONS = 5
Split = tuple[Sequence[Any], str] | None


def split_list(item: Any, what: str) -> Split:
    """Every list and tuple is a list of items."""
    return (item, "") if isinstance(item, (list, tuple)) else None


def split_audio(item: Any, what: str) -> Split:
    """A list of numbers is one item."""
    if isinstance(item, (list, tuple)) and item:
        first = item[0]
        if isinstance(first, Number) or getattr(first, "ndim", None) == 0:
            return None
    return split_list(item, what)


def split_videos(item: Any, what: str) -> Split:
    """An array with one more dimension is a list as well."""
    return (item, "") if getattr(item, "ndim", 0) == _VIDEOS_DIMENSIONS else split_list(item, what)


def split_images(item: Any, what: str) -> Split:
    """An array with one more dimension is a list as well. All arrays of a list are put on one scale of brightness."""
    if not isinstance(item, (list, tuple)) and getattr(item, "ndim", 0) != _IMAGES_DIMENSIONS:
        return None
    if len(item) == 0:
        return item, ""
    arrays = [index for index, each in enumerate(item) if hasattr(each, "dtype") and hasattr(each, "shape")]
    made, changed = pixels(item if len(arrays) == len(item) else [item[index] for index in arrays], what)
    together = list(item)
    for index, array in zip(arrays, made, strict=True):
        together[index] = array
    return together, changed
