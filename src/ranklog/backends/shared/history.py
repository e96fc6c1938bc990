"""What a backend was given before it was opened, read from the journal again.

Takes the context of a run, gives its earlier entries in order. For state that a backend cannot read back from
its own store, and for building that store anew. Reads only; blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from ranklog.abc import RunContext
from ranklog.journal.cursor import backends_of
from ranklog.journal.reader import JournalReader
from ranklog.journal.targets import is_for
from ranklog.model.identity import Member, identity_of
from ranklog.model.record import EVERY_BACKEND, Attempt, Entry


def earlier_entries(context: RunContext) -> Iterator[Entry]:
    """Entries for this backend below ``context.resumed_at``, without those that were set aside."""
    if context.resumed_at <= 0:
        return
    own = _member(context)
    mask = 0 if own else EVERY_BACKEND
    for entry in JournalReader(context.run_dir).poll():
        if entry.ordinal >= context.resumed_at:
            return
        if own and isinstance(entry.record, Attempt):
            mask = own.mask(entry.record)
        if is_for(entry, mask) and entry.ordinal not in context.refused:
            yield entry


def _member(context: RunContext) -> Member | None:
    """What the run says about this backend; None where it is not one of the run's own."""
    if context.extra:
        return None
    identity = identity_of(context.spec)
    return next((member for member in backends_of(context.run_dir) if member.spec.id == identity), None)
