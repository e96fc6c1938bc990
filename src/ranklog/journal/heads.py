"""Heads of segments: the first record of each, which names its attempt and the ordinal where it begins.

Guarantees: reading a head reads one frame. A segment whose head cannot be read is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ranklog.journal.frame import HEADER_BYTES, Frame, Incomplete, decode_frame
from ranklog.journal.layout import segments
from ranklog.model.record import Attempt


class Position(msgspec.Struct, frozen=True):
    """A frame boundary in the journal, where reading continues.

    Attributes:
        segment: Number of the segment.
        offset: Byte offset of the boundary.
        ordinal: All entries below this were read.
    """

    segment: int = -1
    offset: int = 0
    ordinal: int = 0


class Head(msgspec.Struct, frozen=True):
    """First record of a segment: the segment's number, the record's ordinal, and the attempt that wrote it."""

    segment: int
    ordinal: int
    attempt: Attempt

    @property
    def position(self) -> Position:
        """Start of its segment."""
        return Position(self.segment, 0)


def head_before(heads: Sequence[Head], ordinal: int | None = None) -> Head | None:
    """Return the head from which to read everything from an ordinal on; without one, everything of the last segment.

    This is the last head at or below the ordinal. If several segments in a row repeat unconfirmed frames of the
    previous one, it is the first of them.
    """
    before = [head for head in heads if ordinal is None or head.ordinal <= ordinal]
    return next((head for head in before if head.ordinal == before[-1].ordinal), None)


def read_heads(run_dir: Path) -> list[Head]:
    """Return the heads of all segments that can be read, in order. Cheap: reads one frame per segment."""
    heads = (read_head(number, path) for number, path in segments(run_dir))
    return [head for head in heads if head is not None]


def read_head(number: int, path: Path) -> Head | None:
    """Return the head of one segment; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
            missing = decode_frame(start)
            result = decode_frame(start + file.read(missing.missing)) if isinstance(missing, Incomplete) else missing
    except OSError:
        return None
    if isinstance(result, Frame) and result.records and isinstance(result.records[0], Attempt):
        return Head(number, result.ordinal, result.records[0])
    return None


def first_with_content(listing: Sequence[tuple[int, Path]], *, after: int) -> tuple[int, Path] | None:
    """Return the first later segment that is not empty. A writer is just creating an empty one at the end."""
    for number, path in listing:
        with suppress(OSError):
            if number > after and path.stat().st_size:
                return number, path
    return None
