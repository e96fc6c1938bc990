"""How far each backend is: ``cursors/<n>-<backend>.json`` in the run directory.

Written by the delivery side only, after the backend accepted; read by everyone (it lives beside the journal
because both sides meet here). A cursor that cannot be read
counts as none: delivery starts anew, which idempotent backends turn into the same result.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ranklog.journal.layout import make_private_dir, write_private


class Cursor(msgspec.Struct, kw_only=True):
    """State of one backend.

    Attributes:
        backend: Its name.
        next_ordinal: First entry not yet accepted.
        known: What the backend told when it was opened (``run_id``, ``experiment_id``, ``url``).
        status: Status with which the run was closed there, None while it goes on.
        error: Last trouble, None after the next success.
        failures: Failed tries so far.
        refused: Entries the backend will never accept: ordinal (as text) to reason.
        damage: Segments that cannot be read to their end, so that what stands there never arrives: name to reason.
    """

    backend: str
    next_ordinal: int = 0
    known: dict[str, str] = {}
    status: str | None = None
    error: str | None = None
    failures: int = 0
    refused: dict[str, str] = {}
    damage: dict[str, str] = {}


def cursor_path(run_dir: Path, index: int, backend: str) -> Path:
    """File of the cursor of the ``index``-th backend of a run."""
    return run_dir / "cursors" / f"{index}-{backend}.json"


def load_cursor(run_dir: Path, index: int, backend: str) -> Cursor:
    """Read a cursor, or a fresh one."""
    try:
        return msgspec.json.decode(cursor_path(run_dir, index, backend).read_bytes(), type=Cursor)
    except (OSError, msgspec.MsgspecError):
        return Cursor(backend=backend)


def load_cursors(run_dir: Path) -> list[tuple[int, Cursor]]:
    """Every cursor of a run that can be read, with its index."""
    found: list[tuple[int, Cursor]] = []
    for path in sorted((run_dir / "cursors").glob("*.json")):
        index, _, backend = path.stem.partition("-")
        if index.isdigit() and backend:
            found.append((int(index), load_cursor(run_dir, int(index), backend)))
    return sorted(found, key=lambda pair: pair[0])


def adopt_cursor(run_dir: Path, index: int, backend: str) -> Cursor:
    """As `load_cursor`; where a later attempt lists the backend at another place, its cursor moves along."""
    path = cursor_path(run_dir, index, backend)
    if not path.exists():
        pattern = re.compile(rf"\d+-{re.escape(backend)}\.json")
        others = [other for other in path.parent.glob("*.json") if pattern.fullmatch(other.name)]
        if len(others) == 1:
            others[0].rename(path)
    return load_cursor(run_dir, index, backend)


def save_cursor(run_dir: Path, index: int, cursor: Cursor) -> None:
    """Write a cursor as a whole."""
    path = cursor_path(run_dir, index, cursor.backend)
    make_private_dir(path.parent)
    write_private(path, msgspec.json.format(msgspec.json.encode(cursor), indent=1))
