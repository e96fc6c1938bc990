"""Progress line on stderr while `close()` waits for delivery.

In: the run directory and the number of records in its journal. Out: on rank 0, after one second, how many records each
unfinished backend has. A terminal shows one line that is overwritten; a file gets a new line every five seconds. Runs
in its own thread, which reads the backends' cursors, until `ProgressLine.stop`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ranklog.journal.cursor import Cursor, load_cursors

FIRST_S = 1.0
TERMINAL_EVERY_S = 1.0
FILE_EVERY_S = 5.0


class ProgressLine:
    """Prints the progress of delivery until it is stopped.

    Args:
        run_dir: The run directory.
        records: Number of records in the journal.
        timeout_s: Seconds that closing waits at most.
    """

    def __init__(self, run_dir: Path, records: int, timeout_s: float) -> None:
        self._run_dir = run_dir
        self._records = records
        self._deadline = time.monotonic() + timeout_s
        self._stopped = threading.Event()
        self._unfinished = False
        self._terminal = _is_terminal()
        self._thread = threading.Thread(target=self._run, name="ranklog-progress", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the limit on threads: there is no line
            self._stopped.set()

    def stop(self) -> None:
        """Stop printing."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        pause_s = FIRST_S
        while not self._stopped.wait(pause_s):
            pause_s = TERMINAL_EVERY_S if self._terminal else FILE_EVERY_S
            behind = unfinished_backends((cursor for _, cursor in load_cursors(self._run_dir)), self._records)
            if behind:
                left_s = max(self._deadline - time.monotonic(), 0.0)
                self._write(f"ranklog: delivering to {behind}; waiting {left_s:.0f} s at most")
        if self._unfinished:
            self._print("\n")

    def _write(self, text: str) -> None:
        # \x1b[K clears what a longer line left behind.
        self._print(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")
        self._unfinished = self._terminal

    @staticmethod
    def _print(text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(text)
            sys.stderr.flush()


def unfinished_backends(cursors: Iterable[Cursor], records: int) -> str:
    """Name the backends that lack records, with how many they have; empty when all are done.

    Example:
        >>> done = Cursor(backend="console", next_ordinal=40, status="FINISHED")
        >>> unfinished_backends([Cursor(backend="mlflow", next_ordinal=12), done], 40)
        'mlflow (12 of 40 records)'
    """
    return ", ".join(
        f"{cursor.backend} ({min(cursor.next_ordinal, records)} of {records} records)"
        for cursor in cursors
        if cursor.status is None
    )


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    except (OSError, ValueError, AttributeError):
        return False
