"""Writes records to the journal and keeps those that the disk refuses; rank 0, for the drain thread alone.

Guarantees: records are journaled in the order of the calls. Trouble with the disk never raises and is reported once.
Records that could not be written wait in memory for the next try, within the limit of `ranklog.pipeline.backlog`.
Records beyond it are counted as lost, and an event in the run says so once the disk takes records again. `sync` is True
only when the disk has confirmed every record and none waits. Nothing opens the journal again after `close`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ranklog.journal.append_fd import Waiter, in_this_thread
from ranklog.journal.writer import JournalWriter
from ranklog.model.losses import DROPPED, LOST_AT_END, RECORD
from ranklog.model.record import Attempt, Event, Record
from ranklog.pipeline.backlog import Backlog, report_full
from ranklog.pipeline.waiting import DiskCalls
from ranklog.process.warnings import Health

SLICE_RECORDS = 4096
"""Records per call of the writer, so a long backlog does not look like a stall."""


class Recorder:
    """Owns the journal's writer.

    Args:
        run_dir: The run directory.
        attempt: First record of each segment.
        wake: Called after records were journaled.
        health: Takes trouble.
        limit_bytes: Bound of the records that wait for the disk.
        disk: Notes how long calls take.

    Attributes:
        lost: Records that could not be kept.
    """

    def __init__(
        self,
        run_dir: Path,
        attempt: Attempt,
        *,
        wake: Callable[[], None],
        health: Health,
        limit_bytes: int,
        disk: DiskCalls,
    ) -> None:
        self.run_dir = run_dir
        self.lost = 0
        self._wake = wake
        self._limit_bytes = limit_bytes
        self._backlog = Backlog(limit_bytes)
        self._waiting = self._backlog.records
        self._dropped = 0
        self._health = health
        self._disk = disk
        self._closed = False
        self._writer = JournalWriter(run_dir, attempt)

    def write(self, records: Sequence[Record]) -> None:
        """Journal records, and those that waited before them; after `close` they are counted as lost."""
        if self._closed:
            self.lost += len(records)
            return
        self._waiting.extend(records)
        self._write_waiting()

    def drop(self, count: int) -> None:
        """Count records that were dropped before they came here; the run says so with the next records."""
        self.lost += count
        self._dropped += count

    def _write_waiting(self) -> None:
        wrote = False
        refused = False
        while self._waiting and not refused:
            before = self._writer.taken
            bad = False
            try:
                with self._disk:
                    self._writer.append(self._waiting[:SLICE_RECORDS])
            except OSError as error:
                self._warn(error)
                refused = True
            except (ValueError, OverflowError, TypeError):
                bad = True
            written = self._writer.taken - before
            self._backlog.take_out(written)
            wrote = wrote or written > 0
            if bad:
                refused = not self._write_one_by_one()
                wrote = True
        self._trim()
        if self._dropped and not self._waiting:
            self._tell_dropped()
        if wrote:
            self._wake()

    def _write_one_by_one(self) -> bool:
        """After a slice that cannot be encoded: leave out only the record that is to blame; False if refused."""
        for _ in range(min(len(self._waiting), SLICE_RECORDS)):
            try:
                with self._disk:
                    self._writer.append(self._waiting[:1])
            except OSError as error:
                self._warn(error)
                return False
            except (ValueError, OverflowError, TypeError) as error:
                self.lost += 1
                self._health.warn(RECORD, f"a record cannot be stored and is left out: {error}")
            self._backlog.take_out(1)
        return True

    def _trim(self) -> None:
        if not self._waiting:
            return
        dropped = self._backlog.trim()
        if dropped:
            self.lost += dropped
            self._dropped += dropped
            report_full(self._health, self._limit_bytes)

    def _tell_dropped(self) -> None:
        """The disk takes records again: the run itself says what it lacks."""
        text = f"{self._dropped} records were lost while the journal's disk refused writes"
        self._dropped = 0
        self._waiting.append(Event("warning", DROPPED, text, time.time_ns()))
        self._write_waiting()

    def _warn(self, error: OSError) -> None:
        self._health.warn(
            "journal",
            f"cannot write the journal in {self.run_dir}: {error}. Records wait in memory; free space or quota there, "
            "or set RANKLOG_DIR to another file system for the next run.",
        )

    @property
    def ordinal(self) -> int:
        """Number of the next record."""
        return self._writer.ordinal

    def sync(self, wait: Waiter = in_this_thread) -> bool:
        """Write what waits and ask the disk to keep it; True if nothing waits and the disk confirmed everything.

        Args:
            wait: Runs the call that waits for the disk, and may write meanwhile.
        """
        if self._closed:
            return not self._waiting and not self._writer.unconfirmed
        self._write_waiting()
        try:
            with self._disk:
                self._writer.sync(wait)
        except OSError as error:
            self._warn(error)
            return False
        return not self._waiting

    def touch(self) -> None:
        """Show other hosts that this run is alive."""
        with suppress(OSError), self._disk:
            self._writer.touch()

    def close(self) -> None:
        """Write what waits, sync and close; may be called again."""
        if self._closed:
            return
        self._write_waiting()
        self._closed = True
        self.lost += len(self._waiting)
        unconfirmed = 0
        try:
            with self._disk:
                self._writer.close()
        except OSError as error:
            self._warn(error)
            unconfirmed = self._writer.unconfirmed
        if self._waiting or unconfirmed:
            # Only a warning can tell: the journal takes no more.
            text = f"{len(self._waiting)} records are lost: the disk refused them until the end"
            text += f"; {unconfirmed} more may be lost: the disk did not confirm them" if unconfirmed else ""
            self._health.warn(LOST_AT_END, text)

    def discard(self) -> None:
        """Close the journal and remove the segment that this attempt began; for an opening that fails."""
        self._closed = True
        self._writer.discard()
