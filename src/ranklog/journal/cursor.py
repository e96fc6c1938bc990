"""Delivery progress of each backend: ``cursors/<n>-<backend>.json`` in the run directory.

Only the delivery side writes cursors, after the backend has accepted records; anyone may read them. A cursor belongs to
one identity (`ranklog.model.identity`) and to the place where that backend stored. A cursor that cannot be read, or
that belongs to another identity, counts as missing. Delivery then starts over, and idempotent backends reach the same
result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ranklog.journal.heads import read_heads
from ranklog.journal.layout import make_private_child, read_replaced, write_private
from ranklog.model.identity import Member, StoragePlace, members, place_of, plain_address

EXTRA_INDEX = 1000
"""Index of cursors of backends that no attempt names: those of ``ranklog sync --to``."""


class Cursor(msgspec.Struct, kw_only=True):
    """State of one backend.

    Attributes:
        backend: Its name in tables.
        id: Its identity in the run; empty in cursors of ``ranklog sync --to`` and of older versions.
        place: Where it stored when it was last opened.
        next_ordinal: First entry that it has not accepted yet.
        known: Facts that the backend reported when it was opened (``run_id``, ``experiment_id``, ``url``).
        status: Status with which the run was closed there; None while it is open.
        error: Last error; None after the next success.
        failures: Number of failed tries so far.
        stuck: Number of failed tries in a row for reasons other than reaching the backend.
        refused: Entries that the backend will never accept: ordinal (as text) to reason.
        damage: Segments that cannot be read to their end, so their remaining records never arrive: name to reason.
    """

    backend: str
    id: str = ""
    place: StoragePlace = {}
    next_ordinal: int = 0
    known: dict[str, str] = {}
    status: str | None = None
    error: str | None = None
    failures: int = 0
    stuck: int = 0
    refused: dict[str, str] = {}
    damage: dict[str, str] = {}


def cursor_path(run_dir: Path, index: int, backend: str) -> Path:
    """Return the path of the cursor of the ``index``-th backend of a run."""
    return run_dir / "cursors" / f"{index}-{backend}.json"


def load_cursor(run_dir: Path, index: int, backend: str, identity: str = "") -> Cursor:
    """Read a cursor. Return a new one if there is none, or if the cursor has another identity than the given one."""
    try:
        cursor = msgspec.json.decode(read_replaced(cursor_path(run_dir, index, backend)), type=Cursor)
    except (OSError, msgspec.MsgspecError):
        return Cursor(backend=backend, id=identity)
    return cursor if cursor.id == identity or not identity else Cursor(backend=backend, id=identity)


def load_cursors(run_dir: Path) -> list[tuple[int, Cursor]]:
    """Return every cursor of a run that can be read, with its index."""
    found: list[tuple[int, Cursor]] = []
    for path in sorted((run_dir / "cursors").glob("*.json")):
        index, _, backend = path.stem.partition("-")
        if index.isdigit() and backend:
            found.append((int(index), load_cursor(run_dir, int(index), backend)))
    return sorted(found, key=lambda pair: pair[0])


def cursors_of(run_dir: Path, backends: Sequence[Member]) -> dict[str, Cursor]:
    """Return the cursor of each backend of a run, by identity; a new one for a backend without."""
    own = {m.spec.id: load_cursor(run_dir, m.index, m.label, m.spec.id) for m in backends}
    fresh = [m for m in backends if own[m.spec.id] == Cursor(backend=m.label, id=m.spec.id)]
    for member, cursor in _from_older_versions(run_dir, backends, fresh):
        own[member.spec.id] = cursor
    return own


def backends_of(run_dir: Path) -> list[Member]:
    """Return every backend of any attempt of the run."""
    return members(head.attempt for head in read_heads(run_dir))


def adopt_cursors(run_dir: Path, backends: Sequence[Member]) -> None:
    """Assign cursors of older versions to their backends, and delete those that belong to none."""
    old = _old_cursors(run_dir)
    if not old:
        return
    own = cursors_of(run_dir, backends)
    for member in backends:
        save_cursor(run_dir, member.index, own[member.spec.id])
    for index, cursor in old:
        path = cursor_path(run_dir, index, cursor.backend)
        if not load_cursor(run_dir, index, cursor.backend).id:
            path.unlink(missing_ok=True)


def _old_cursors(run_dir: Path) -> list[tuple[int, Cursor]]:
    return [(index, cursor) for index, cursor in load_cursors(run_dir) if not cursor.id and index < EXTRA_INDEX]


def _from_older_versions(
    run_dir: Path, backends: Sequence[Member], fresh: Sequence[Member]
) -> Iterable[tuple[Member, Cursor]]:
    """Find the cursors of older versions for backends without one.

    Older versions identified backends by name alone. If a run had two places for one name at once, they mixed them up,
    so those cursors are ignored. If a later attempt changed the place, they continued with the cursor of the first.
    """
    by_name: dict[str, list[Cursor]] = {}
    for _, cursor in _old_cursors(run_dir) if fresh else ():
        by_name.setdefault(cursor.backend, []).append(cursor)
    for name, cursors in by_name.items():
        named = [member for member in backends if member.spec.backend == name]
        if not named or named[0] not in fresh or len({member.since for member in named}) < len(named):
            continue
        cursor = min(cursors, key=lambda each: each.next_ordinal)
        uri = cursor.known.get("tracking_uri")
        place = place_of(named[0].spec) | {"tracking_uri": plain_address(uri)} if uri else {}
        yield named[0], msgspec.structs.replace(cursor, backend=named[0].label, id=named[0].spec.id, place=place)


def save_cursor(run_dir: Path, index: int, cursor: Cursor) -> None:
    """Write a cursor atomically.

    Raises:
        OSError: the disk refused, or there is no run directory, for example because its file system is not mounted.
    """
    path = cursor_path(run_dir, index, cursor.backend)
    make_private_child(path.parent)  # no parents: a mount point without its file system stays empty
    write_private(path, msgspec.json.format(msgspec.json.encode(cursor), indent=1))
