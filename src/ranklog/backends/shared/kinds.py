"""Lookup in a backend's table of kinds. Pure.

Each backend has two tables, in its module ``items``. ``FORMS`` says in words how it stores each kind. ``SHOWS`` maps
kind and media type to the function that makes this form. An item that ``SHOWS`` lacks is stored as its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

ANY_MEDIA = "*/*"
"""Media type of a row that holds for every media type of its kind."""

Show = TypeVar("Show")


def find_show(shows: Mapping[tuple[str, str], Show], kind: str, media: str) -> Show | None:
    """Return the function for a kind and media type, or None when the item has to be stored as its files.

    Example:
        >>> shows = {("text", "text/plain"): "show text", ("video", ANY_MEDIA): "show video"}
        >>> [find_show(shows, *key) for key in (("text", "text/plain"), ("video", "video/mp4"), ("text", "text/csv"))]
        ['show text', 'show video', None]
    """
    return shows.get((kind, media), shows.get((kind, ANY_MEDIA)))
