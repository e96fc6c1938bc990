"""Codes of the events that report a loss.

Every loss is reported under one of these codes, and `ranklog ls` and `show` look for all of them.
"""

from __future__ import annotations

BUFFER_FULL = "buffer_full"
"""Writes to the journal keep failing, and records are dropped."""
DROPPED = "dropped"
"""Number of dropped records, reported once the disk works again."""
DROPPED_ITEMS = "dropped_items"
"""Items that were dropped because their contents could not be stored for too long."""
LATE_DISK = "late_disk"
"""The disk was too slow at the end."""
LOST = "lost"
"""Values or items of a rank that did not reach rank 0, or the disk, before the end."""
LOST_AT_END = "lost_at_end"
"""Records that the disk refused until the end; only a warning, because the journal takes no more."""
LOST_ITEMS = "lost_items"
"""Items that could not be stored while they were logged."""
LOST_RECORDS = "lost_records"
"""Records that could not be written to the journal."""
RECORD = "record"
"""A record that cannot be encoded."""
SILENT = "silent"
"""Lost ranks, with the values that they had not sent."""
UNSENT = "unsent_lost"
"""Values that other ranks had not sent when communication broke, and that are stored nowhere."""
VALUE = "value"
"""Values that could not be read from their device."""
VALUES_LOST = "values_lost"
"""Reduced values that could not become records."""

LOSSES = (
    BUFFER_FULL,
    DROPPED,
    DROPPED_ITEMS,
    LATE_DISK,
    LOST,
    LOST_AT_END,
    LOST_ITEMS,
    LOST_RECORDS,
    RECORD,
    SILENT,
    UNSENT,
    VALUE,
    VALUES_LOST,
)

WITHDRAWN_BY = {"returned": SILENT}
"""Codes of events that withdraw an earlier loss, each with the code of that loss."""
