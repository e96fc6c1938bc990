"""Places of the cache: nobody else's directory is used, and trouble there costs time but no answer."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from journals import write

from ranklog.model.record import End, Metrics
from ranklog.view.index import cache, run_index, tables
from ranklog.view.index.cache import STATE, evict
from ranklog.view.index.run_index import RunIndex
from ranklog.view.index.series import rows_of
from ranklog.view.run import Run
from ranklog.view.runs.listing import list_runs, remove_lists

ROWS = 64


def rows(first: int, count: int = ROWS) -> list[Metrics]:
    return [Metrics(step, step, -1, {"loss": step / 7}) for step in range(first, first + count)]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write(tmp_path / "runs" / "run", 0, [*rows(0), End("FINISHED", 2)])
    return tmp_path / "runs" / "run"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, with blocks as small as can be."""
    monkeypatch.setattr(tables, "BLOCK_ROWS", ROWS)
    monkeypatch.setenv(cache.DIR_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def of_another_user(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's place is a link that another user made, to a directory of this one."""
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    root.symlink_to(own)
    if os.getuid() == 0:
        os.chown(root, 12345, 12345, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    return own


def test_a_link_of_another_user_is_not_followed(run_dir, root, of_another_user):
    with Run(run_dir) as run:
        assert len(run.metrics("loss")) == ROWS
        assert "a link of another user" in run.notice or os.getuid() != 0
    assert len(list_runs(run_dir.parent)[0]) == 1
    assert [*of_another_user.rglob("*")] == []


def test_nothing_behind_a_link_of_another_user_is_deleted(root, of_another_user):
    files = [of_another_user / folder / cache.this_host() / "notes" / "text" for folder in ("index", "lists")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    evict(root, 0)
    remove_lists(root)
    assert [file.read_text() for file in files] == ["mine", "mine"]


def test_a_list_is_not_written_where_others_can_write(run_dir, root):
    root.mkdir()
    root.chmod(0o777)
    assert len(list_runs(run_dir.parent)[0]) == 1
    assert [*root.rglob("*")] == []


@pytest.mark.parametrize("place", range(0, 100, 3))
def test_a_damaged_list_is_made_again(run_dir, root, place):
    wanted = list_runs(run_dir.parent)
    (kept,) = root.rglob("lists/*/*")
    data = bytearray(kept.read_bytes())
    data[len(data) * place // 100] ^= 0x11
    kept.write_bytes(data)
    assert list_runs(run_dir.parent) == wanted


def test_a_cache_of_an_unknown_user_leaves_the_index_in_memory(run_dir, monkeypatch):
    monkeypatch.setenv(cache.DIR_VARIABLE, "~nobody-has-this-name/cache")
    monkeypatch.chdir(run_dir.parent)
    with Run(run_dir) as run:
        assert len(run.metrics("loss")) == ROWS
    shutil.rmtree("~nobody-has-this-name", ignore_errors=True)


def test_a_run_that_is_looked_at_stays_longer_than_one_that_is_not(run_dir, tmp_path, root):
    write(tmp_path / "other", 0, rows(0))
    for place, at_s in ((run_dir, 1), (tmp_path / "other", 2)):
        index = RunIndex(place, root)
        index.refresh()
        index.close()
        newest = max(root.rglob(STATE), key=lambda each: each.stat().st_mtime)
        os.utime(newest, (at_s, at_s))
    with Run(run_dir) as run:
        run.names()
    evict(root, max(sum(file.stat().st_size for file in state.parent.iterdir()) for state in root.rglob(STATE)))
    assert RunIndex(run_dir, root).tables.records > 0
    assert RunIndex(tmp_path / "other", root).tables.records == 0


def test_after_a_refused_state_the_blocks_belong_to_the_next_holder(run_dir, root, monkeypatch):
    first = RunIndex(run_dir, root)
    first.refresh()
    first.save()
    write(run_dir, 1, rows(ROWS, 3 * ROWS))
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(run_index, "write_private", refuse)
        first.refresh()
        first.save()
    assert "No space left" in first.notice
    write(run_dir, 2, rows(4 * ROWS, 3 * ROWS))
    second = RunIndex(run_dir, root)
    second.refresh()
    second.save()
    first.refresh()  # reads the same rows, and must not write them
    for _ in range(2):
        assert rows_of(second.tables, "loss").value.tolist() == [step / 7 for step in range(7 * ROWS)]
        write(run_dir, 3, [])
        first.refresh()
    second.close()
    first.close()


def test_a_cache_that_is_removed_while_it_is_used_costs_no_answer(run_dir, root):
    with Run(run_dir) as run:
        run.names()
        shutil.rmtree(root)
        write(run_dir, 1, rows(ROWS, 3 * ROWS))
        run.refresh()
        assert len(run.metrics("loss")) == 4 * ROWS
    with Run(run_dir) as run:
        assert len(run.metrics("loss")) == 4 * ROWS


def test_a_run_that_is_deleted_while_it_is_open_keeps_its_last_answer(run_dir, root):
    from ranklog.model.errors import RunNotFoundError

    with Run(run_dir) as run:
        before = run.metrics("loss").numpy()["value"].tolist()
        shutil.rmtree(run_dir)
        with pytest.raises(RunNotFoundError):
            run.refresh()
        assert run.metrics("loss").numpy()["value"].tolist() == before
