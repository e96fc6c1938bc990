"""Whether the contents that entries name lie in the run directory, so that no backend is given half of one.

In: a run directory and entries. Out: the ordinals of those that lack something, and what. Reads sizes, not contents
(``ranklog verify`` compares the digests). A disk in other trouble raises OSError: it may get well.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ranklog.journal.store import blob_path
from ranklog.model.record import Entry, File, Item


def lacking_contents(run_dir: Path, entries: Iterable[Entry]) -> dict[int, str]:
    """Ordinals of entries with a content that is missing or has another size, with the reason."""
    found: dict[int, str] = {}
    for entry in entries:
        files = entry.record.files if isinstance(entry.record, Item) else ()
        reason = next((why for file in files if (why := _lack(run_dir, file))), None)
        if reason is not None:
            found[entry.ordinal] = reason
    return found


def _lack(run_dir: Path, file: File) -> str | None:
    if file.data is not None:
        return None
    try:
        size = blob_path(run_dir, file.sha256).stat().st_size
    except (FileNotFoundError, ValueError):  # ValueError: what should be its digest is none
        return f"its content {file.path!r} is missing"
    return None if size == file.size else f"its content {file.path!r} has {size} bytes instead of {file.size}"
