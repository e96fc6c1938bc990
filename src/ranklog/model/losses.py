"""Codes of the events that say that something was lost.

Whoever loses something tells it under one of these codes, and `ranklog ls` and `show` look for all of them.
"""

from __future__ import annotations

BUFFER_FULL = "buffer_full"
"""The disk of the journal refuses for so long that records are left out."""
DROPPED = "dropped"
"""How many that were, once the disk takes records again."""
DROPPED_ITEMS = "dropped_items"
"""Items whose contents could not be stored for so long that they were given up."""
LATE_DISK = "late_disk"
"""The disk was too slow at the end."""
LOST = "lost"
"""Values or items of a rank that did not reach rank 0, or the disk, before the end."""
LOST_AT_END = "lost_at_end"
"""Records that the disk refused until the end; a warning only, the journal takes no more."""
LOST_ITEMS = "lost_items"
"""Items that could not be stored while they were logged."""
LOST_RECORDS = "lost_records"
"""Records that could not be journaled."""
RECORD = "record"
"""A record that cannot be encoded."""
SILENT = "silent"
"""Ranks that are gone, with what they had not sent."""
UNSENT = "unsent_lost"
"""What other ranks had not sent when the ranks could no longer talk, where nothing keeps it."""
VALUE = "value"
"""Values that could not be read from their device."""
VALUES_LOST = "values_lost"
"""Reduced values that could not be made into records."""

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
