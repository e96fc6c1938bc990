"""Loses races for a new file, and reads files that are being replaced; see `test_replaced_files`.

Prints one JSON object. FAULT_WHILE switches the fault on, after everything is prepared.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ranklog.delivery.lock import LOCK, DeliveryLock, LockedError
from ranklog.journal.cursor import Cursor, load_cursor, save_cursor
from ranklog.journal.layout import read_facts, segments, write_facts
from ranklog.journal.reader import read_run
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, Metrics, RunFacts

FAULT = Path(os.environ["FAULT_WHILE"])


def journal(run_dir: Path) -> object:
    """Another attempt creates the segment that this writer needs next."""
    first = JournalWriter(run_dir, attempt(0), segment_bytes=1)
    other = JournalWriter(run_dir, attempt(1))
    FAULT.touch()
    first.append([Metrics(0, 0, 1, {"loss": 0.5})])
    first.close()
    other.close()
    return [len(segments(run_dir)), [e.record.values for e in read_run(run_dir) if isinstance(e.record, Metrics)]]


def attempt(number: int) -> Attempt:
    return Attempt(PROTOCOL, "run", number, Place(), "host", 1, number, ())


def lock(run_dir: Path) -> object:
    holder = DeliveryLock(run_dir)
    holder.ensure()
    FAULT.touch()
    try:
        DeliveryLock(run_dir).ensure()
    except LockedError:
        return "locked"
    return (run_dir / LOCK).exists()


def cursor(run_dir: Path) -> object:
    save_cursor(run_dir, 0, Cursor(backend="csv", next_ordinal=7))
    FAULT.touch()
    return load_cursor(run_dir, 0, "csv").next_ordinal


def facts(run_dir: Path) -> object:
    write_facts(
        run_dir,
        RunFacts(protocol=PROTOCOL, run_id="run", experiment="e", created_ns=time.time_ns(), ranklog_version="0"),
    )
    FAULT.touch()
    return read_facts(run_dir).run_id


CASES: dict[str, Callable[[Path], object]] = {"journal": journal, "lock": lock, "cursor": cursor, "facts": facts}

if __name__ == "__main__":
    run_dir = Path(sys.argv[2])
    run_dir.mkdir(parents=True)
    print(json.dumps(CASES[sys.argv[1]](run_dir)))
