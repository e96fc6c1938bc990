"""The one owner of the journal's writer on rank 0: every record of the run passes through `write`.

Guarantees: records are journaled in the order of the calls; trouble with the disk never raises, is warned once,
and the records wait in memory (up to `MAX_WAITING`, counted as lost beyond) for the next try. Called from ranklog's
own threads, never from training.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ranklog.capture.health import Health
from ranklog.journal.writer import JournalWriter
from ranklog.model.record import Attempt, Record

MAX_WAITING = 500_000


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
        self._waiting: list[Record] = []
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
            del self._waiting[:written]
        if bad:
            self._write_one_by_one()
        self._trim()
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
                self._health.warn("record", f"a record cannot be stored and is left out: {error}")
            del self._waiting[0]
        self._wake()

    def _trim(self) -> None:
        excess = len(self._waiting) - MAX_WAITING
        if excess > 0:
            del self._waiting[-excess:]
            self.lost += excess

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

    def close(self) -> None:
        """Close the journal; nothing may be written afterwards."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._write_waiting()
            self.lost += len(self._waiting)
            try:
                self._writer.close()
            except OSError as error:
                self._warn(error)
