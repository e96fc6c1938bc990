"""``delivery.log`` in the run directory: errors of delivery, for people to read.

The file is 0600. Secrets in URLs are masked before they reach the file or a cursor.
"""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

from ranklog.model.redact import mask_text
from ranklog.model.text import storable

LOG = "delivery.log"
_ERROR_CHARS = 500


def open_log(run_dir: Path) -> int:
    """Open the log for appending and return its descriptor."""
    return os.open(run_dir / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def note(run_dir: Path, text: str) -> None:
    """Append a text with the time. Errors of the disk are ignored, because this log must not stop delivery."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    try:
        fd = open_log(run_dir)
        try:
            os.write(fd, storable(f"{stamp} {mask_text(text).rstrip()}\n").encode())
        finally:
            os.close(fd)
    except OSError:
        pass


def describe(error: BaseException) -> str:
    """Return an exception in one line, for cursors and tables."""
    shown = brief(str(error))
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def brief(text: str) -> str:
    """Return a text in one line of bounded length, without secrets in addresses."""
    line = storable(" ".join(mask_text(text).split()))
    return line if len(line) <= _ERROR_CHARS else line[: _ERROR_CHARS - 1] + "…"


def details(error: BaseException) -> str:
    """Return an exception with its traceback, for the log."""
    return "".join(traceback.format_exception(error))
