"""Finds records whose content is missing from the run directory, so that no backend gets half a file.

In: a run directory and journal entries. Out: the ordinals of entries without complete content, with the reason. Reads
sizes only (``ranklog verify`` compares digests). Any other disk error raises OSError: it may be temporary.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ranklog.journal.store import blob_path
from ranklog.model.record import Entry, File, Item


def missing_contents(run_dir: Path, entries: Iterable[Entry]) -> dict[int, str]:
    """Return the ordinals of entries whose content is missing or has another size, with the reason."""
    found: dict[int, str] = {}
    for entry in entries:
        files = entry.record.files if isinstance(entry.record, Item) else ()
        reason = next((problem for file in files if (problem := _problem(run_dir, file))), None)
        if reason is not None:
            found[entry.ordinal] = reason
    return found


def _problem(run_dir: Path, file: File) -> str | None:
    if file.data is not None:
        return None
    try:
        size = blob_path(run_dir, file.sha256).stat().st_size
    except (FileNotFoundError, ValueError):  # ValueError: the digest is not one
        return f"its content {file.path!r} is missing"
    return None if size == file.size else f"its content {file.path!r} has {size} bytes instead of {file.size}"
