"""What a backend was given before it was opened, read from the journal again.

Takes the context of a run, gives its earlier entries in order. For state that a backend cannot read back from
its own store, and for building that store anew. Reads only; blocks for the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from ranklog.delivery.backends.base import RunContext
from ranklog.delivery.targets import Target, extra_target, is_for, targets_of
from ranklog.journal.reader import JournalReader
from ranklog.model.record import Attempt, Entry


def earlier_entries(context: RunContext) -> Iterator[Entry]:
    """Entries for this backend below ``context.resumed_at``."""
    if context.resumed_at <= 0:
        return
    target = _target(context)
    mask = 0
    for entry in JournalReader(context.run_dir).poll():
        if entry.ordinal >= context.resumed_at:
            return
        if isinstance(entry.record, Attempt):
            mask = target.mask(entry.record)
        if is_for(entry, mask):
            yield entry


def _target(context: RunContext) -> Target:
    entries = JournalReader(context.run_dir).poll()
    attempts = [entry.record for entry in entries if isinstance(entry.record, Attempt)]
    same = [target for target in targets_of(attempts) if target.spec == context.spec]
    return same[0] if same else extra_target(context.spec)
