"""Read a run's journal, even while it is being written.

Guarantees: every whole frame before a damaged place is returned, in order, once. Damage is reported with segment and
offset, and only ends its own segment. No file content makes the reader raise, or use more memory than one frame needs.
A torn frame at the very end is not damage, because it may still grow.

Three cases need care. A frame that was read in part and then removed by the writer (a full disk) is read again. A
segment that begins with the head frame of the previous one repeats what the disk had not confirmed of it. Entries
already read are then skipped, and damage counts as a torn end if no entry is missing behind it. A network file system
may show a segment before the end of the previous one. The ordinal in its head reveals this, and a patient reader waits
for the missing entries (decision 0033).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ranklog.journal.frame import HEADER_BYTES, Frame, Incomplete, decode_frame, find_frame
from ranklog.journal.heads import Head, Position, first_with_content, head_before, read_head, read_heads
from ranklog.journal.layout import segments
from ranklog.model.record import Attempt, End, Entry

_CHUNK_BYTES = 1 << 20


class Damage(msgspec.Struct, frozen=True):
    """A place in the journal that cannot be read.

    Attributes:
        segment: Number of the segment.
        offset: Byte offset of the unreadable frame; the rest of the segment is not read either.
        reason: Description of the damage.
        torn: Whether no acknowledged record is lost: a last frame that was never completed, as after a kill, or a frame
            that the next segment repeats.
    """

    segment: int
    offset: int
    reason: str
    torn: bool = False


class JournalReader:
    """Incremental reader of the journal of one run; `poll` returns new entries.

    Args:
        run_dir: The run directory; it need not have a segment yet.
        start: Where to start, from an earlier `position`.
        patience_s: Seconds to wait for the end of a segment while the next one is there. After that, the missing
            entries count as damage.
        clock: Monotonic seconds.

    Attributes:
        position: Frame boundary where the next `poll` continues.
        damage: Places that cannot be read, so far.
        tail: Unfinished frame at the very end, if the last `poll` met one; it may still grow.
        awaits_segment: Number of the segment whose missing end the last `poll` waits for; None if it waits for none.
    """

    def __init__(
        self,
        run_dir: Path,
        start: Position | None = None,
        *,
        patience_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_dir = run_dir
        self._patience_s = patience_s
        self._clock = clock
        self._awaited_since: float | None = None
        self.awaits_segment: int | None = None
        self.position = start or Position()
        self.damage: list[Damage] = []
        self.tail: Damage | None = None
        self._dead: set[int] = set()
        self._judged = 0  # number of entries of `damage` that `_judge` has seen
        self._head: Head | None = None  # of the segment that was read last
        self._repeats = self.position.offset > 0  # whether the current segment may repeat entries

    @property
    def certain_damage(self) -> list[Damage]:
        """Damage of which it is known whether records are lost there, because a later entry was read."""
        return self.damage[: self._judged]

    @property
    def resumes_at(self) -> Position:
        """Where another reader goes on: at `position`, or at the first damage that is not certain."""
        for damage in self.damage[self._judged :]:
            return Position(damage.segment, damage.offset, self.position.ordinal)
        return self.position

    def poll(self) -> Iterator[Entry]:
        """Yield entries from the current position to the current end.

        `position` moves frame by frame, after the last entry of the frame was taken.
        """
        if self._head is None and self.position.ordinal:
            self._head = self._head_before()
        while True:
            listing = segments(self._run_dir)
            if not listing:
                return
            number, path = next((s for s in listing if s[0] >= self.position.segment), listing[-1])
            if number < self.position.segment:
                # The writer removed a segment that the disk did not confirm, and continues in the previous one.
                self._repeats = True
            if number != self.position.segment:
                self._move(number, 0)
            later = first_with_content(listing, after=number)
            try:
                yield from self._read_segment(number, path, later)
            except FileNotFoundError:  # just removed by the writer
                return
            if later is None or self.awaits_segment is not None:
                return
            self._repeats = False
            self._move(number + 1, 0)

    def _head_before(self) -> Head | None:
        """Return the head of the segment before the position, where reading begins in the middle of a run."""
        segment, offset = self.position.segment, self.position.offset
        before = (each for each in reversed(segments(self._run_dir)) if each[0] < segment + (offset > 0))
        return next((head for each in before if (head := read_head(*each))), None)

    def _move(self, segment: int, offset: int, ordinal: int = 0) -> None:
        self.position = Position(segment, offset, max(ordinal, self.position.ordinal))

    def _read_segment(self, number: int, path: Path, later: tuple[int, Path] | None) -> Iterator[Entry]:
        if number in self._dead:
            return
        # Unbuffered, so that reading again reads the file.
        with path.open("rb", buffering=0) as file:
            file.seek(self.position.offset)
            buffer = b""
            start = 0
            doubted = -1
            while True:
                result = decode_frame(buffer, start) if start < len(buffer) else Incomplete(HEADER_BYTES)
                if isinstance(result, Frame):
                    yield from self._entries(number, result)
                    start += result.size
                    end = result.ordinal + len(result.records)
                    self._move(number, self.position.offset + result.size, end)
                elif isinstance(result, Incomplete):
                    # Read from the frame's start, not only the missing part: the writer may have removed that frame
                    # since, and its first part could even fit what follows now.
                    rest = buffer[start:]
                    file.seek(self.position.offset)
                    buffer, start = file.read(max(_CHUNK_BYTES, len(rest) + result.missing)), 0
                    if buffer == rest:
                        self._end_segment(number, rest, later)
                        return
                elif doubted != self.position.offset:
                    # The writer may have replaced the frame during the read.
                    doubted = self.position.offset
                    file.seek(doubted)
                    buffer, start = b"", 0
                else:
                    self._report(Damage(number, self.position.offset, result.reason))
                    return

    def _entries(self, number: int, frame: Frame) -> Iterator[Entry]:
        """Yield the entries of a frame that were not read yet."""
        if self.position.offset == 0 and frame.records and isinstance(frame.records[0], Attempt):
            head = Head(number, frame.ordinal, frame.records[0])
            self._repeats = self._repeats or _same_head(head, self._head)
            self._head = head
        for ordinal, record in enumerate(frame.records, frame.ordinal):
            if ordinal < self.position.ordinal and self._repeats:
                continue
            self._judge(ordinal)
            yield Entry(ordinal, number, record)

    def _judge(self, ordinal: int) -> None:
        """Mark damage as torn if the first entry after it is the very next one, so that no entry is missing."""
        new, self._judged = range(self._judged, len(self.damage)), len(self.damage)
        if ordinal == self.position.ordinal > 0:
            for index in new:
                self.damage[index] = msgspec.structs.replace(self.damage[index], torn=True)

    def _end_segment(self, number: int, rest: bytes, later: tuple[int, Path] | None) -> None:
        self.tail = None
        torn = find_frame(rest, 1) is None
        if later is not None and torn and (missing := self._missing_before(later)):
            self._await(number, missing)
            return
        self._await(number, "")
        if not rest:
            return
        what = "torn frame" if torn else "frame with a damaged length"
        tail = Damage(number, self.position.offset, f"{what}, {len(rest)} bytes", torn)
        if later is None:
            self.tail = tail
        else:
            self._report(tail)

    def _missing_before(self, later: tuple[int, Path]) -> str:
        """Describe the entries between the position and the head of a later segment; empty if there are none."""
        head, expected = read_head(*later), self.position.ordinal
        unknown = expected == 0 and self.position.segment > 0  # nothing was read yet, and reading began here
        if head is None or head.ordinal <= expected or unknown:
            return ""
        return f"records {expected} to {head.ordinal - 1} are missing at its end"

    def _await(self, segment: int, missing: str) -> None:
        """Wait for missing entries, or report them once the patience is over."""
        if not missing:
            self.awaits_segment = self._awaited_since = None
            return
        now = self._clock()
        self._awaited_since = now if self._awaited_since is None else self._awaited_since
        if now - self._awaited_since < self._patience_s:
            self.awaits_segment = segment
        else:
            self.awaits_segment = self._awaited_since = None
            self._report(Damage(segment, self.position.offset, missing))

    def _report(self, damage: Damage) -> None:
        self._dead.add(damage.segment)
        self.damage.append(damage)

    def next_ordinal(self) -> int:
        """Return an ordinal above all that were ever used. Reads everything ahead of the position.

        Records hidden by damage count by their size in bytes, which is more than enough: an ordinal that is used twice
        would be taken for delivered.
        """
        ordinal, segment = 0, -1
        for entry in self.poll():
            ordinal, segment = entry.ordinal + 1, entry.segment
        paths = dict(segments(self._run_dir))
        for damage in (*self.damage, *([self.tail] if self.tail else [])):
            if not damage.torn and damage.segment >= segment:
                ordinal += paths[damage.segment].stat().st_size - damage.offset
        return ordinal


def _same_head(head: Head, other: Head | None) -> bool:
    return other is not None and (head.ordinal, head.attempt) == (other.ordinal, other.attempt)


def read_run(run_dir: Path) -> list[Entry]:
    """Return every entry of a run, in order."""
    return list(JournalReader(run_dir).poll())


def last_end(run_dir: Path) -> End | None:
    """Return the record that ended the run's last attempt, if it ended normally. Reads the last segment."""
    head = head_before(read_heads(run_dir))
    end: End | None = None
    for entry in JournalReader(run_dir, head.position if head else None).poll():
        if isinstance(entry.record, (End, Attempt)):
            end = entry.record if isinstance(entry.record, End) else None
    return end
