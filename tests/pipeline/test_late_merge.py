"""Values that a rank kept in one attempt are merged late, and the values of later attempts still win."""

from __future__ import annotations

import time
from pathlib import Path

from ranklog.journal.layout import FACTS
from ranklog.journal.reader import last_end, read_heads, read_run
from ranklog.journal.spill_file import SpillWriter
from ranklog.journal.superseded import Rewinds
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import Attempt, Coverage, End, Metrics, Record
from ranklog.pipeline.reduction.merge import append_merged
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.gathered import report_rows
from ranklog.reduce.spill.format import SpillHead, SpillRecord, SpillRows, pack
from ranklog.reduce.transfer import encode_record


def write_attempt(run_dir: Path, number: int, points: dict[str, dict[int, float]]) -> None:
    attempt = Attempt(1, "run-a", number, Place(world_size=2), "host", 1, time.time_ns(), ())
    writer = JournalWriter(run_dir, attempt)
    records: list[Record] = [
        Metrics(step, time.time_ns(), -1, {name: value}, "mean", Coverage(1, 2, 1))
        for name, series in points.items()
        for step, value in series.items()
    ]
    writer.append([*records, End("FINISHED", time.time_ns())])
    writer.close()


def keep(run_dir: Path, rank: int, points: dict[str, dict[int, float]], *, written: bool) -> None:
    buffer = Buffer(rank)
    for name, series in points.items():
        for step, value in series.items():
            buffer.add({name: value}, step=step, op="mean", to=-1, time_ns=1)
    buffer.close_all()
    rows = report_rows(buffer.closed(100), 0.0)
    file = SpillWriter(run_dir, "abc", rank)
    head = SpillHead(rank, 2, "broken", time.time_ns(), (0, 0))
    file.append(pack([head, SpillRows(rank, rows, written=written, alone=written)]))
    file.end()


def shown(run_dir: Path) -> dict[tuple[str, int], float]:
    """Values as a reader sees them: superseded points are gone, and the last record of a point counts."""
    rewinds = Rewinds()
    points: list[tuple[str, int, int, float]] = []
    attempt = 0
    for entry in read_run(run_dir):
        if isinstance(entry.record, Attempt):
            attempt = entry.record.attempt
        elif isinstance(entry.record, Metrics):
            rewinds.add(entry.record.values, step=entry.record.step, attempt=attempt)
            points += [(name, entry.record.step, attempt, value) for name, value in entry.record.values.items()]
    return {
        (name, step): value
        for name, step, number, value in points
        if not rewinds.is_superseded(name, step=step, attempt=number)
    }


def test_values_kept_in_an_earlier_attempt_replace_nothing_of_a_later_one(tmp_path: Path) -> None:
    (tmp_path / FACTS).write_bytes(b"")
    alone = {"loss": {8: 1.0, 9: 1.0, 10: 1.0}, "val": {8: 1.0, 10: 1.0}}
    write_attempt(tmp_path, 0, alone)
    keep(tmp_path, 0, alone, written=True)
    keep(tmp_path, 1, {"loss": {8: 3.0, 9: 3.0, 10: 3.0}, "val": {8: 3.0}}, written=False)
    write_attempt(tmp_path, 1, {"loss": {9: 70.0, 10: 70.0}})

    assert append_merged(tmp_path) > 0

    assert shown(tmp_path) == {
        ("loss", 8): 2.0,  # of attempt 0, corrected
        ("loss", 9): 70.0,
        ("loss", 10): 70.0,
        ("val", 8): 2.0,
        ("val", 10): 1.0,  # attempt 1 has not logged this name
    }
    assert read_heads(tmp_path)[-1].attempt.attempt == 1
    end = last_end(tmp_path)
    assert end is not None and end.status == "FINISHED"
    assert append_merged(tmp_path) == 0


def test_a_file_that_grew_after_it_was_merged_adds_only_what_is_new(tmp_path: Path) -> None:
    (tmp_path / FACTS).write_bytes(b"")
    write_attempt(tmp_path, 0, {"loss": {0: 1.0}})
    own = [Metrics(step, 1, -1, {"own/rank_001": float(step)}) for step in range(3)]
    file = SpillWriter(tmp_path, "abc", 1)
    file.append(pack([SpillHead(1, 2, "broken", time.time_ns()), SpillRecord(0, encode_record(own[0]))]))
    assert append_merged(tmp_path) > 0
    file.append(pack([SpillRecord(serial, encode_record(own[serial])) for serial in (1, 2)]))
    file.end()
    assert append_merged(tmp_path) > 0

    found = [entry.record for entry in read_run(tmp_path)]
    assert [record for record in found if isinstance(record, Metrics) and "own/rank_001" in record.values] == own
