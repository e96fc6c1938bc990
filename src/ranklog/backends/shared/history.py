"""The entries that a backend received before it was opened, read from the journal again.

Backends use them to restore state that their own store cannot return, and to rebuild that store. Read-only; blocks for
the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from ranklog.abc import RunContext
from ranklog.journal.cursor import backends_of
from ranklog.journal.reader import JournalReader
from ranklog.journal.targets import is_for
from ranklog.model.identity import Member, identity_of
from ranklog.model.record import EVERY_BACKEND, Attempt, Entry


def earlier_entries(context: RunContext, *, below: int | None = None) -> Iterator[Entry]:
    """Yield the entries for this backend, in order, without those that were set aside.

    Args:
        context: The backend's context.
        below: Ordinal at which to stop; ``context.resumed_at`` by default.
    """
    below = context.resumed_at if below is None else below
    if below <= 0:
        return
    own = _member(context)
    mask = 0 if own else EVERY_BACKEND
    for entry in JournalReader(context.run_dir).poll():
        if entry.ordinal >= below:
            return
        if own and isinstance(entry.record, Attempt):
            mask = own.mask(entry.record)
        if is_for(entry, mask) and entry.ordinal not in context.refused:
            yield entry


def _member(context: RunContext) -> Member | None:
    """Return this backend among those of the run, or None when no attempt names it."""
    if context.extra:
        return None
    identity = identity_of(context.spec)
    return next((member for member in backends_of(context.run_dir) if member.spec.id == identity), None)
