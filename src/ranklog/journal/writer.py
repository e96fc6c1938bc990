"""Appends records to one segment of a run's journal.

Guarantees: records are in the order of the calls; `append` returns after the kernel has the bytes (they
survive a kill of the process), `sync` after the disk has them. One writer a segment: the file is opened with
O_EXCL and never reopened; a new attempt opens the next segment. A failed append leaves no half frame behind
and raises OSError; the same records may be appended again. A frame with a record that cannot be encoded is not
written at all and raises ValueError. After a sync that failed the kernel may have dropped what it had, and calls the
next one good: what was appended since the last good sync is kept in memory, and written again to its place first.
Whatever `append` raises, `taken` tells what was written. Not thread-safe:
the owner serialises calls.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ranklog.journal.cursor import load_cursors
from ranklog.journal.frame import encode_frame, fill_frame
from ranklog.journal.layout import create_private, make_private_dir, segment_name, segments
from ranklog.journal.reader import JournalReader, Position, read_heads
from ranklog.model.record import Attempt, Record

SEGMENT_BYTES = 64 * 1024 * 1024


class JournalWriter:
    """The one writer of a run's journal.

    Args:
        run_dir: The run directory; created if missing.
        attempt: First record of every segment that this writer opens.
        segment_bytes: Size above which the next frame goes to a new segment.

    Attributes:
        ordinal: Number of the next record in the run.
        taken: Records appended so far, without the first one of each segment.
    """

    def __init__(self, run_dir: Path, attempt: Attempt, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._run_dir = run_dir
        self._attempt = attempt
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._size = 0
        self._unsynced: list[bytes] = []  # about a second of frames, and a segment at most
        self._doubted = False
        self.taken = 0
        make_private_dir(run_dir)
        existing = segments(run_dir)
        self._segment = existing[-1][0] if existing else -1
        self.ordinal = _first_ordinal(run_dir) if existing else 0
        self._open_next()

    def _open_next(self) -> None:
        frame = encode_frame([self._attempt], self.ordinal)
        while True:
            path = self._run_dir / segment_name(self._segment + 1)
            try:
                fd = create_private(path, os.O_APPEND)
                break
            except FileExistsError:
                self._segment += 1
        try:
            _write_all(fd, frame)
            os.fsync(fd)
            _sync_directory(self._run_dir)
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        before = self._fd
        self._segment += 1
        self._fd, self._size = fd, len(frame)
        self._unsynced, self._doubted = [], False
        self.ordinal += 1
        # Last: a disk that refuses to sync the old segment must not take the new one with it.
        _close_synced(before)

    def append(self, records: Sequence[Record]) -> None:
        """Append records as one or more frames of at most `FRAME_RECORDS` records and about `FRAME_BYTES`.

        Frames before one that fails are kept, of that one nothing is; `taken` grows by the records kept. After a
        ValueError the caller finds the record that is to blame by appending what is left one by one.

        Raises:
            OSError: the disk refused.
            ValueError: a record cannot be encoded, or is above `MAX_PAYLOAD_BYTES` alone.
        """
        start = 0
        while start < len(records):
            if self._size >= self._segment_bytes or self._fd < 0:
                if self._doubted:
                    self.sync()  # or never: what the next segment brings must not make it forgotten
                self._open_next()
            frame, count = fill_frame(records, start, self.ordinal)
            try:
                _write_all(self._fd, frame)
            except BaseException:  # also a Ctrl-C in the midst of it
                self._undo()
                raise
            self._size += len(frame)
            self._unsynced.append(frame)
            self.ordinal += count
            self.taken += count
            start += count

    def _undo(self) -> None:
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            # A torn frame stays at this segment's end; readers cut it, and the next append opens a new one.
            os.close(self._fd)
            self._fd = -1
            self._doubted = False

    def sync(self) -> None:
        """Ask the disk to keep what was appended.

        Raises:
            OSError: the disk refused; the next call tries again.
        """
        if not self._unsynced or self._fd < 0:
            return
        try:
            if self._doubted:
                self._write_again()
            os.fdatasync(self._fd)
        except BaseException:
            self._doubted = True
            raise
        self._unsynced, self._doubted = [], False

    def _write_again(self) -> None:
        data = b"".join(self._unsynced)
        # Another descriptor: with O_APPEND Linux appends whatever offset is given.
        fd = os.open(self._run_dir / segment_name(self._segment), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.lseek(fd, self._size - len(data), os.SEEK_SET)
            _write_all(fd, data)
        finally:
            os.close(fd)

    def beat(self) -> None:
        """Give the segment a new time of change, for those who cannot see this process."""
        if self._fd >= 0:
            os.utime(self._fd)

    def close(self) -> None:
        """Sync and close the segment; may be called twice."""
        try:
            self.sync()
        finally:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)


def _first_ordinal(run_dir: Path) -> int:
    """First ordinal of a new attempt: above what the journal holds, and what a disk lost after delivery."""
    delivered = max((cursor.next_ordinal for _, cursor in load_cursors(run_dir)), default=0)
    heads = read_heads(run_dir)
    # The last segment that can be read tells: what comes before it has lower ordinals.
    start = Position(heads[-1].segment, 0) if heads else None
    return max(delivered, JournalReader(run_dir, start).next_ordinal())


def _close_synced(fd: int) -> None:
    if fd >= 0:
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
