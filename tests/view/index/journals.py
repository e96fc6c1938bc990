"""Random journals for property tests: attempts that go back, corrections, groups that share names, odd values."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st

from ranklog.journal.layout import FACTS, make_private_dir, write_facts
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, Coverage, Metrics, RunFacts
from ranklog.model.spec import BackendSpec

NAMES = ("loss", "acc", "lr")
VALUES = st.sampled_from([0.0, -1.0, 2.5, 1e300, math.nan, math.inf, -math.inf]) | st.floats(-10, 10)
COVERAGES = st.sampled_from([None, Coverage(4, 4, 4), Coverage(3, 4, 3), Coverage(3, 4, 2)])


@st.composite
def rows(draw: st.DrawFn) -> Metrics:
    """A row of metrics at some small step, so that steps are often logged again."""
    coverage = draw(COVERAGES)
    return Metrics(
        step=draw(st.integers(0, 12)),
        time_ns=draw(st.integers(0, 10**6)),
        to=draw(st.sampled_from([-1, 1, 2])),
        values=draw(st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1)),
        op=None if coverage is None else "mean",
        coverage=coverage,
    )


attempts = st.lists(st.tuples(st.integers(0, 3), st.lists(rows(), max_size=12)), min_size=1, max_size=5)
"""Attempts in the order of the journal: number and rows. A number may come again."""


@contextmanager
def folder() -> Iterator[Path]:
    """Give a new directory for each example; in memory, where syncs cost nothing, if that can be had."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def write(run_dir: Path, attempt: int, rows: list[Metrics], *, at_ns: int = 1) -> None:
    """Append an attempt with its rows, as a process that is now gone would."""
    if not (run_dir / FACTS).exists():
        make_private_dir(run_dir)
        facts = RunFacts(protocol=PROTOCOL, run_id="run", experiment="digits", created_ns=1, ranklog_version="0")
        write_facts(run_dir, facts)
    head = Attempt(
        PROTOCOL, "run", attempt, Place(attempt=attempt), "elsewhere", 1, at_ns, (BackendSpec(backend="csv"),)
    )
    writer = JournalWriter(run_dir, head)
    writer.append(rows)
    writer.close()
