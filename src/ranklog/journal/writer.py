"""Append records to the segments of a run's journal.

Guarantees: records keep the order of the calls. Once `append` has returned, the kernel has the bytes and they survive a
kill of the process; once `sync` has returned, the disk has them. Each segment has one writer: the file is opened with
O_EXCL and never reopened, and a new attempt opens the next segment. A failed append leaves no partial frame behind and
raises OSError; the same records may be appended again. A frame with a record that cannot be encoded is not written at
all and raises ValueError. Whatever `append` raises, `taken` says how many records were written.

After a failed call on a segment's descriptor, the kernel may have dropped data and report the next sync as good. Frames
that were not synced are therefore kept in memory, and the next sync writes them again at the head of the next segment.
That segment begins with the same head frame. An ordinal names the same record wherever it is stored, so a reader takes
each record once (decision 0013). Not thread-safe: the owner serialises calls.

A network file system may hide the segments of an attempt that another node wrote seconds ago. The exclusive creation of
a segment reveals them, so ordinals and the attempt's number are decided again after each name that is taken (decision
0033).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from ranklog.journal.append_fd import AppendFd, Waiter, in_this_thread
from ranklog.journal.cursor import load_cursors
from ranklog.journal.descriptor import Descriptor
from ranklog.journal.frame import encode_frame, fill_frame
from ranklog.journal.heads import Head, head_before, read_heads
from ranklog.journal.layout import create_private, make_private_dir, segment_name, segments
from ranklog.journal.reader import JournalReader
from ranklog.model.record import Attempt, Record

SEGMENT_BYTES = 64 * 1024 * 1024


class JournalWriter:
    """The only writer of a run's journal.

    Args:
        run_dir: The run directory; created if missing.
        attempt: First record of every segment that this writer opens. If other attempts turn out to have its number or
            a higher one, it gets the next free number.
        segment_bytes: Size above which the next frame goes to a new segment.

    Attributes:
        attempt: The attempt with its final number.
        ordinal: Number of the next record in the run.
        taken: Records appended so far, without the first one of each segment.
    """

    def __init__(self, run_dir: Path, attempt: Attempt, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._run_dir = run_dir
        self.attempt = attempt
        self._segment_bytes = segment_bytes
        self.taken = 0
        self._segment = -1
        make_private_dir(run_dir)
        self._closed = False
        self._created: list[Path] = []
        self._fd = self._open_first()
        self.ordinal += 1
        self._synced = self.ordinal

    @property
    def unconfirmed(self) -> int:
        """Records appended since the last good sync."""
        return self.ordinal - self._synced

    def _open_first(self) -> AppendFd:
        """Open the attempt's first segment, after all that the run has."""
        while True:
            existing = segments(self._run_dir)
            self._segment = max(existing[-1][0] if existing else -1, self._segment)
            self.attempt = _numbered(self.attempt, read_heads(self._run_dir))
            self.ordinal = _first_ordinal(self._run_dir) if existing else 0
            self._head = encode_frame([self.attempt], self.ordinal)
            try:
                return self._create([self._head])
            except FileExistsError:
                self._segment += 1

    def _open_next(self) -> None:
        """Continue in a new segment, which repeats the frames that the disk has not confirmed of the old one."""
        carried = self._fd.unsynced
        head = self._head if carried else encode_frame([self.attempt], self.ordinal)
        new = self._create_free([head, *carried])
        old, self._fd, self._head = self._fd, new, head
        if not carried:
            self.ordinal += 1
        self._synced = self.ordinal
        old.close()

    def _create_free(self, frames: Sequence[bytes]) -> AppendFd:
        """Create the next segment whose name is free."""
        while True:
            try:
                return self._create(frames)
            except FileExistsError:
                self._segment += 1

    def _create(self, frames: Sequence[bytes]) -> AppendFd:
        """Create the next segment; its frames are on the disk when this returns. On an error, no segment is left.

        Raises:
            FileExistsError: the name is taken.
        """
        path = self._run_dir / segment_name(self._segment + 1)
        fd = AppendFd(Descriptor(create_private(path, os.O_APPEND)))
        try:
            for frame in frames:
                fd.append(frame)
            fd.sync()
            _sync_directory(self._run_dir)
        except BaseException:
            fd.close()
            with suppress(OSError):
                path.unlink()
            raise
        self._segment += 1
        self._created.append(path)
        return fd

    def append(self, records: Sequence[Record]) -> None:
        """Append records as one or more frames of at most `FRAME_RECORDS` records and about `FRAME_BYTES`.

        Frames before a failing one are kept, and nothing of the failing one; `taken` grows by the records kept. A frame
        that can neither be written nor removed is kept in memory, and `sync` fails until it is in the next segment.
        After a ValueError, the caller finds the faulty record by appending the remaining ones one by one.

        Raises:
            OSError: the disk refused.
            ValueError: a record cannot be encoded, or exceeds `MAX_PAYLOAD_BYTES` alone.
        """
        self._refuse_if_closed()
        start = 0
        while start < len(records):
            self._make_room()
            frame, count = fill_frame(records, start, self.ordinal)
            size = self._fd.size
            try:
                self._fd.append(frame)
            except BaseException as error:  # including a Ctrl-C during the call
                if self._fd.cut(size):
                    raise
                # A reader may find the frame whole: it keeps its ordinals, and the next segment begins with it.
                self._fd.carry(frame)
                self._count(count)
                if not isinstance(error, OSError):
                    raise
            else:
                self._count(count)
            start += count

    def _count(self, records: int) -> None:
        self.ordinal += records
        self.taken += records

    def _make_room(self) -> None:
        if self._fd.is_open and self._fd.size < self._segment_bytes:
            return
        if self._fd.unsynced and self._fd.trusted:
            with suppress(OSError):  # unconfirmed frames move to the new segment
                self._fd.sync()
        self._open_next()

    def sync(self, wait: Waiter = in_this_thread) -> None:
        """Sync what was appended before this call.

        Args:
            wait: Runs the call that waits for the disk, and may append meanwhile.

        Raises:
            OSError: the disk refused; the next call tries again, in another segment. Or the journal is closed.
        """
        self._refuse_if_closed()
        if not self._fd.unsynced:
            return
        if self._fd.trusted:
            reached = self.ordinal
            self._fd.sync(wait)
            self._synced = max(self._synced, reached)
        else:
            self._open_next()

    def touch(self) -> None:
        """Update the segment's modification time, as a sign of life for other hosts."""
        self._fd.touch()

    def close(self) -> None:
        """Sync and close the segment; may be called twice.

        Raises:
            OSError: the disk refused twice; `unconfirmed` records may be lost.
        """
        if self._closed:
            return
        try:
            try:
                self.sync()
            except OSError:
                self.sync()  # in another segment; there is no later chance
        finally:
            self._closed = True
            self._fd.close()

    def discard(self) -> None:
        """Close, and remove the segments that this writer created."""
        self._closed = True
        self._fd.close()
        for path in self._created:
            with suppress(OSError):
                path.unlink()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the journal is closed")


def _numbered(attempt: Attempt, heads: Sequence[Head]) -> Attempt:
    """Return the attempt with a number above all others; one that already has segments keeps its number."""
    others = [head.attempt for head in heads]
    if attempt in others:
        return attempt
    return structs.replace(attempt, attempt=max([attempt.attempt, *(other.attempt + 1 for other in others)]))


def _first_ordinal(run_dir: Path) -> int:
    """Return the first ordinal of a new attempt: above those in the journal and those delivered but lost by a disk."""
    delivered = max((cursor.next_ordinal for _, cursor in load_cursors(run_dir)), default=0)
    # The last readable segment, with those that it repeats, has the highest ordinals.
    start = head_before(read_heads(run_dir))
    return max(delivered, JournalReader(run_dir, start.position if start else None).next_ordinal())


def _sync_directory(path: Path) -> None:
    fd = Descriptor(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    try:
        fd.call(os.fsync)
    finally:
        fd.close_quietly()
