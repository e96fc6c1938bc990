"""Answers stay those of the journal, although the cache is killed at any write, damaged, shared, full or taken away."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from journals import folder, write

from ranklog.model.record import Metrics
from ranklog.view.index import cache, run_index, tables
from ranklog.view.index.cache import STATE, cache_root, evict
from ranklog.view.index.run_index import RunIndex
from ranklog.view.index.series import rows_of
from ranklog.view.run import Run

ROWS = 64


def rows(first: int, count: int = ROWS) -> list[Metrics]:
    return [Metrics(step, step, -1, {"loss": step / 7, "lr": 0.1}) for step in range(first, first + count)]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write(tmp_path / "run", 0, rows(0))
    return tmp_path / "run"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, with blocks as small as can be."""
    monkeypatch.setattr(tables, "BLOCK_ROWS", ROWS)
    monkeypatch.setenv(cache.DIR_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def losses(run_dir: Path, root: Path) -> list[float]:
    """Values of a metric, from an index that saves nothing."""
    index = RunIndex(run_dir, root)
    index.refresh()
    try:
        return rows_of(index.tables, "loss").value.tolist()
    finally:
        index.tables.store.close()
        index._lock.release()


def state_of(root: Path) -> Path:
    (state,) = root.rglob(STATE)
    return state


@pytest.mark.slow
def test_killed_two_hundred_times_it_goes_on_or_begins_again_with_the_same_answers():
    # A small process forks much faster than that of the tests.
    with folder() as tmp:
        subprocess.run([sys.executable, Path(__file__).with_name("kills_job.py"), tmp], check=True)


@pytest.fixture
def saved(run_dir: Path, root: Path) -> Path:
    """A run whose index is in the cache; the index never knew of the last rows."""
    write(run_dir, 1, rows(ROWS))
    index = RunIndex(run_dir, root)
    index.refresh()
    index.close()
    write(run_dir, 2, rows(2 * ROWS))
    return run_dir


WANTED = [step / 7 for step in range(3 * ROWS)]


def test_it_reads_only_what_was_appended(saved, root):
    index = RunIndex(saved, root)
    before = index.tables.records
    index.refresh()
    assert (before, index.tables.records) == (2 * ROWS + 2, 3 * ROWS + 3)


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_damage_anywhere_in_the_blocks_is_seen_and_they_are_built_again(saved, root, place):
    (blocks,) = root.rglob("blocks-*")
    data = bytearray(blocks.read_bytes())
    data[len(data) * place // 100] ^= 0x10
    blocks.write_bytes(data)
    with Run(saved) as run:
        assert run.metrics("loss").numpy()["value"].tolist() == WANTED
        assert [metric.points for metric in run.names()] == [3 * ROWS, 3 * ROWS]
        assert (run.metrics("lr").numpy()["value"] == 0.1).all()


@pytest.mark.parametrize("place", range(0, 100, 9))
def test_a_damaged_state_is_no_state(saved, root, place):
    data = bytearray(state_of(root).read_bytes())
    data[len(data) * place // 100] ^= 0x10
    state_of(root).write_bytes(data)
    assert losses(saved, root) == WANTED


@pytest.mark.parametrize("size", [0, 3, 100, -1])
@pytest.mark.parametrize("name", [STATE, "blocks-*"])
def test_a_state_or_blocks_that_were_cut_are_built_again(saved, root, name, size):
    (file,) = root.rglob(name)
    os.truncate(file, file.stat().st_size - 1 if size < 0 else size)
    assert losses(saved, root) == WANTED


def test_a_state_of_another_version_is_built_again(saved, root, monkeypatch):
    monkeypatch.setattr("ranklog.view.index.state.VERSION", 99)
    assert RunIndex(saved, root).tables.records == 0
    assert losses(saved, root) == WANTED


def test_a_journal_that_was_replaced_by_another_one_is_read_anew(saved, root):
    shutil.rmtree(saved)
    write(saved, 0, rows(1000))
    assert losses(saved, root) == [step / 7 for step in range(1000, 1000 + ROWS)]


def test_a_journal_that_was_cut_is_read_anew_also_while_the_index_is_open(saved, root):
    index = RunIndex(saved, root)
    index.refresh()
    last = max(saved.glob("journal-*"))
    last.unlink()
    index.refresh()
    assert rows_of(index.tables, "loss").value.tolist() == WANTED[: 2 * ROWS]


def test_several_readers_share_it_and_only_one_writes(saved, root):
    first, second = RunIndex(saved, root), RunIndex(saved, root)
    for index in (first, second):
        assert index.tables.records == 2 * ROWS + 2
        index.refresh()
        assert rows_of(index.tables, "loss").value.tolist() == WANTED
    before = state_of(root).read_bytes()
    second.close()
    assert state_of(root).read_bytes() == before
    first.close()
    assert state_of(root).read_bytes() != before
    assert len([*root.rglob("blocks-*")]) == 1


def test_a_reader_keeps_its_blocks_while_another_process_builds_anew(saved, root):
    holder, reader = RunIndex(saved, root), RunIndex(saved, root)
    holder.rebuild()
    holder.refresh()
    reader.refresh()
    assert rows_of(reader.tables, "loss").value.tolist() == WANTED


def test_a_full_disk_leaves_the_index_in_memory_and_says_so(run_dir, root, monkeypatch):
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    monkeypatch.setattr(run_index, "SAVE_RECORDS", 10)
    index = RunIndex(run_dir, root)
    index.refresh()
    assert "No space left on device" in index.notice
    assert rows_of(index.tables, "loss").value.tolist() == WANTED[:ROWS]
    index.close()


def test_a_cache_that_cannot_be_made_leaves_the_index_in_memory_and_says_so(run_dir, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.DIR_VARIABLE, str(tmp_path / "file" / "cache"))
    with Run(run_dir) as run:
        assert "in memory" in run.notice and "RANKLOG_CACHE_DIR" in run.notice
        assert run.metrics("loss").numpy()["value"].tolist() == WANTED[:ROWS]


def test_a_cache_that_others_can_write_is_not_used(run_dir, root):
    root.mkdir()
    root.chmod(0o777)
    index = RunIndex(run_dir, root)
    assert "can be written by other users" in index.notice


def test_its_files_are_private(saved, root):
    found = [root, *root.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o600}


def test_it_is_at_most_as_large_as_the_journal(tmp_path, root):
    names = [f"metric_{number}" for number in range(20)]
    steps = [Metrics(step, 10**18 + step * 10**7, -1, dict.fromkeys(names, step / 3)) for step in range(2000)]
    write(tmp_path / "run", 0, steps)
    index = RunIndex(tmp_path / "run", root)
    index.refresh()
    index.close()
    journal = sum(file.stat().st_size for file in (tmp_path / "run").glob("journal-*"))
    assert sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) <= journal


def test_the_least_recently_used_indexes_go_when_there_are_too_many(tmp_path, root):
    for number in range(4):
        write(tmp_path / f"run-{number}", 0, rows(0))
        index = RunIndex(tmp_path / f"run-{number}", root)
        index.refresh()
        index.close()
        os.utime(max(root.rglob(STATE), key=lambda each: each.stat().st_mtime), (number, number))
    held = RunIndex(tmp_path / "run-0", root)  # the oldest, but in use
    sizes = [sum(file.stat().st_size for file in state.parent.iterdir()) for state in root.rglob(STATE)]
    evict(root, sum(sizes) - 1)
    left = {RunIndex(tmp_path / f"run-{number}", root).tables.records > 0 for number in (0, 2, 3)}
    assert left == {True}
    assert RunIndex(tmp_path / "run-1", root).tables.records == 0
    held.close()


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"RANKLOG_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/ranklog"),
        ({"XDG_CACHE_HOME": "relative"}, f"{tempfile.gettempdir()}/ranklog-{os.getuid()}"),
        ({}, f"{tempfile.gettempdir()}/ranklog-{os.getuid()}"),
    ],
)
def test_it_lies_where_the_environment_says(environ, wanted):
    assert cache_root(environ) == Path(wanted)


OPENS = """
import os, sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append((str(args[0]), args[2])))
import ranklog
with ranklog.open_run(sys.argv[1]) as run:
    run.names(), run.metrics(), run.status, run.deliveries, run.efficiency(), run.outlook()
writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
print([path for path, flags in opened if path.startswith(sys.argv[1]) and flags & writes])
"""


def test_nothing_is_opened_for_writing_in_the_run_directory(saved):
    before = sorted(saved.rglob("*"))
    done = subprocess.run([sys.executable, "-c", OPENS, str(saved)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert sorted(saved.rglob("*")) == before
