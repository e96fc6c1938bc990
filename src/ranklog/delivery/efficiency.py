"""Makes the efficiency line of a run, within a time limit, for the end of a scheduler's job.

In: the run directory. Out: the line that ``ranklog show --efficiency`` prints, or nothing when the journal is too large
to read in time. Never raises.
"""

from __future__ import annotations

import threading
from pathlib import Path

from ranklog.backends.shared.delivery_log import details, note
from ranklog.journal.layout import segments

TIME_S = 5.0
BYTES = 256 * 1024 * 1024
"""Reading a larger journal takes longer than the end of a job should."""
BYTES_IN_TRAINING = 32 * 1024 * 1024
"""Limit in the training process, whose memory may be nearly full."""


def efficiency_line(run_dir: Path, time_s: float = TIME_S, limit_bytes: int = BYTES) -> str:
    """Return the line; empty when the journal is larger than the limit, unreadable, or not read in time."""
    found: list[str] = []

    def read() -> None:
        try:
            if sum(path.stat().st_size for _, path in segments(run_dir)) <= limit_bytes:
                from ranklog.view.efficiency import describe_run  # most runs end without this line
                from ranklog.view.query import RunView

                found.append(describe_run(RunView(run_dir)))
        except Exception as error:
            note(run_dir, f"cannot make the efficiency line\n{details(error)}")

    reader = threading.Thread(target=read, name="ranklog-efficiency", daemon=True)
    reader.start()
    reader.join(max(time_s, 0.0))
    return found[0] if found else ""
