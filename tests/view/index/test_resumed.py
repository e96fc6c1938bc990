"""An index that goes on from the cache says what a fresh one says, whatever the writer did in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from journals import write
from naive_view import NaiveView

from ranklog.journal.frame import encode_frame
from ranklog.journal.layout import segment_name
from ranklog.journal.reader import Damage, JournalReader
from ranklog.model.record import Metrics
from ranklog.view.index.run_index import RunIndex
from ranklog.view.index.series import rows_of


def rows(first: int, count: int = 5) -> list[Metrics]:
    return [Metrics(step, step, -1, {"loss": step / 7}) for step in range(first, first + count)]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run whose only segment holds its head and five rows."""
    write(tmp_path / "run", 0, rows(0))
    return tmp_path / "run"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def segment(run_dir: Path, number: int) -> Path:
    return run_dir / segment_name(number)


def save(run_dir: Path, root: Path) -> None:
    index = RunIndex(run_dir, root)
    index.refresh()
    index.close()


def answers(run_dir: Path, root: Path) -> tuple[list[int], int, list[Damage]]:
    """Steps of all rows, the number of records, and the damage."""
    index = RunIndex(run_dir, root)
    index.refresh()
    steps = rows_of(index.tables, "loss", superseded=True).step.tolist()
    index.close()
    return steps, index.tables.records, index.damage


def assert_same_as_fresh(run_dir: Path, root: Path) -> None:
    fresh = answers(run_dir, root.with_name("fresh"))
    assert answers(run_dir, root) == fresh
    assert len(fresh[0]) == len(NaiveView(run_dir).series("loss"))


@pytest.mark.parametrize("shown", ["nothing", "a part of the head", "the head"])
def test_records_that_the_next_segment_repeats_count_once(run_dir, root, shown):
    whole = segment(run_dir, 0).read_bytes() + encode_frame(rows(5), 6)
    head = next(JournalReader(run_dir).poll()).record
    size = {"nothing": 0, "a part of the head": 30, "the head": len(encode_frame([head], 0))}[shown]
    if size:
        segment(run_dir, 1).write_bytes(whole[:size])
    save(run_dir, root)
    segment(run_dir, 1).write_bytes(whole)
    assert_same_as_fresh(run_dir, root)
    segment(run_dir, 2).write_bytes(whole + encode_frame(rows(10), 11))
    assert_same_as_fresh(run_dir, root)


def test_damage_is_told_once_when_the_next_segment_shows_that_nothing_is_lost(run_dir, root):
    whole = segment(run_dir, 0).read_bytes()
    segment(run_dir, 0).write_bytes(whole + b"rubbish that is no frame")
    save(run_dir, root)
    segment(run_dir, 1).write_bytes(whole + encode_frame(rows(5), 6))
    assert_same_as_fresh(run_dir, root)
    assert [each.torn for each in answers(run_dir, root)[2]] == [True]


def test_damage_is_told_once_when_the_head_of_the_next_segment_was_still_torn(run_dir, root):
    whole = segment(run_dir, 0).read_bytes()
    segment(run_dir, 0).write_bytes(whole + b"rubbish that is no frame")
    segment(run_dir, 1).write_bytes(whole[:30])
    save(run_dir, root)
    segment(run_dir, 1).write_bytes(whole + encode_frame(rows(5), 6))
    assert_same_as_fresh(run_dir, root)


def test_a_frame_that_another_host_saw_too_early_is_read_when_it_is_whole(run_dir, root):
    whole = segment(run_dir, 0).read_bytes() + encode_frame(rows(5), 6)
    read = segment(run_dir, 0).stat().st_size
    segment(run_dir, 0).write_bytes(whole[:read] + bytes(len(whole) - read))
    save(run_dir, root)
    segment(run_dir, 0).write_bytes(whole)
    assert_same_as_fresh(run_dir, root)
