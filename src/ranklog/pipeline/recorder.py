"""The one owner of the journal's writer on rank 0: every record of the run passes through `write`.

Guarantees: records are journaled in the order of the calls; trouble with the disk never raises, is warned once,
and the records wait in memory for the next try, within the bound of `ranklog.pipeline.backlog`; what exceeds it is
counted as lost, and the run says so once the disk takes records again. Called from ranklog's own threads, never from
training.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ranklog.journal.writer import JournalWriter
from ranklog.model.losses import BUFFER_FULL, DROPPED, LOST_AT_END, RECORD
from ranklog.model.record import Attempt, Event, Record
from ranklog.pipeline.backlog import Backlog, buffer_bytes
from ranklog.process.health import Health


class Recorder:
    """Writes records to the journal and says so to the forwarder.

    Args:
        run_dir: The run directory.
        attempt: First record of each segment.
        wake: Called after records were journaled.
        health: Takes trouble.

    Attributes:
        lost: Records that could not be kept.
    """

    def __init__(self, run_dir: Path, attempt: Attempt, wake: Callable[[], None], health: Health) -> None:
        self.run_dir = run_dir
        self.lost = 0
        self._wake = wake
        self._lock = threading.Lock()
        self._backlog = Backlog(buffer_bytes())
        self._waiting = self._backlog.records
        self._dropped = 0
        self._health = health
        self._closed = False
        self._writer = JournalWriter(run_dir, attempt)

    def write(self, records: Sequence[Record]) -> None:
        """Journal records, and those that waited before them; after `close` they are counted as lost."""
        with self._lock:
            if self._closed:
                self.lost += len(records)
                return
            self._waiting.extend(records)
            self._write_waiting()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        taken = self._writer.taken
        bad = False
        try:
            self._writer.append(self._waiting)
        except OSError as error:
            self._warn(error)
        except (ValueError, OverflowError, TypeError):
            bad = True
        finally:
            # Also where a Ctrl-C comes in between: what was written must not be written again.
            written = self._writer.taken - taken
            self._backlog.take_out(written)
        if bad:
            self._write_one_by_one()
        self._trim()
        if self._dropped and not self._waiting:
            self._tell_dropped()
        if written:
            self._wake()

    def _write_one_by_one(self) -> None:
        """After a batch that cannot be encoded: only the record that is to blame is left out."""
        while self._waiting:
            try:
                self._writer.append(self._waiting[:1])
            except OSError as error:
                self._warn(error)
                break
            except (ValueError, OverflowError, TypeError) as error:
                self.lost += 1
                self._health.warn(RECORD, f"a record cannot be stored and is left out: {error}")
            self._backlog.take_out(1)
        self._wake()

    def _trim(self) -> None:
        if not self._waiting:
            return
        dropped = self._backlog.trim()
        if dropped:
            self.lost += dropped
            self._dropped += dropped
            self._health.warn(
                BUFFER_FULL, "the disk refuses for so long that records are left out; see RANKLOG_BUFFER_MIB"
            )

    def _tell_dropped(self) -> None:
        """The disk takes records again: the run itself says what it lacks."""
        text = f"{self._dropped} records were lost while the disk of the journal refused"
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

    def sync(self) -> bool:
        """Put all on disk; whether that worked and nothing waits."""
        with self._lock:
            self._write_waiting()
            try:
                self._writer.sync()
            except OSError as error:
                self._warn(error)
                return False
            return not self._waiting

    def beat(self) -> None:
        """Show other hosts that this run is alive."""
        with self._lock, suppress(OSError):
            self._writer.touch()

    def close(self) -> None:
        """Close the journal; nothing may be written afterwards."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._write_waiting()
            self.lost += len(self._waiting)
            unconfirmed = 0
            try:
                self._writer.close()
            except OSError as error:
                self._warn(error)
                unconfirmed = self._writer.unconfirmed
            if self._waiting or unconfirmed:
                # Only a warning can tell: the journal takes no more.
                text = f"{len(self._waiting)} records are lost: the disk refused them until the end"
                text += f"; {unconfirmed} more may be lost: the disk did not confirm them" if unconfirmed else ""
                self._health.warn(LOST_AT_END, text)
