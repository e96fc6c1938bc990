"""Suggestions for misspelled names, for error messages and warnings. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that is most like a name that is not allowed; None where none is like it.

    Example:
        >>> closest("project", ["savedir", "project_name"]), closest("uri", ["tracking_uri"]), closest("x", ["savedir"])
        ('project_name', 'tracking_uri', None)
    """
    from difflib import get_close_matches  # slow to import, and only errors need it

    known = list(allowed)
    close = get_close_matches(name.lower(), known, n=1)
    return next(iter(close), None) or next((each for each in known if name.lower() in each.split("_")), None)
