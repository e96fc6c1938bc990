"""Run directories: names, contents of items, and finding runs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from ranklog.journal.cursor import Cursor, cursor_path, load_cursor, load_cursors, save_cursor
from ranklog.journal.layout import (
    FACTS,
    create_private,
    find_runs,
    make_private_dir,
    read_facts,
    segment_name,
    segments,
    write_facts,
    write_private,
)
from ranklog.journal.store import INLINE_BYTES, blob_path, read_file, store_bytes, store_file
from ranklog.model.errors import RunNotFoundError
from ranklog.model.record import RunFacts

FACTS_OF_RUN = RunFacts(protocol=1, run_id="run-a", experiment="x", created_ns=1, ranklog_version="0", command=("a",))


def test_segments_are_listed_in_order_of_their_numbers_and_nothing_else_is(tmp_path):
    for name in (segment_name(100000), segment_name(2), segment_name(0), "journal-1.rlj", "journal-00003.rlj~", "x"):
        (tmp_path / name).touch()
    assert [number for number, _ in segments(tmp_path)] == [0, 2, 100000]
    assert segments(tmp_path / "nowhere") == []


def test_facts_are_read_back_and_a_directory_without_them_is_no_run(tmp_path):
    write_facts(tmp_path, FACTS_OF_RUN)
    assert read_facts(tmp_path) == FACTS_OF_RUN
    (tmp_path / FACTS).write_bytes(b"\xc1rubbish")
    with pytest.raises(RunNotFoundError, match="not a run directory"):
        read_facts(tmp_path)
    with pytest.raises(RunNotFoundError, match="not a run directory"):
        read_facts(tmp_path / "nowhere")


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 3 * 1024 * 1024])
def test_content_is_read_back_and_only_large_content_takes_a_file(tmp_path, size):
    data = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(data)
    files = [store_bytes(tmp_path, "a/b.bin", data), store_file(tmp_path, "a/b.bin", source)]
    assert files[0] == files[1]
    assert read_file(tmp_path, files[0]) == data
    assert (files[0].size, files[0].sha256) == (size, hashlib.sha256(data).hexdigest())
    blobs = [p for p in tmp_path.rglob("*") if p.parent.name == "blobs"]
    assert [(p.name, p.stat().st_mode & 0o777) for p in blobs] == (
        [(files[0].sha256, 0o600)] if size > INLINE_BYTES else []
    )


def test_a_source_that_cannot_be_read_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="source"):
        store_file(tmp_path, "x", tmp_path / "source")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"])
def test_an_invalid_digest_never_becomes_a_path(tmp_path, digest):
    with pytest.raises(ValueError, match="not a SHA-256"):
        blob_path(tmp_path, digest)


def test_a_write_that_fails_keeps_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    write_private(tmp_path / "x", b"old")

    def refuse(fd: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("ranklog.journal.layout.os.fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_private(tmp_path / "x", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"old"}


def test_directories_made_on_the_way_are_private_and_existing_ones_are_left_alone(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    make_private_dir(shared / "a" / "b")
    modes = [path.stat().st_mode & 0o777 for path in (shared, shared / "a", shared / "a" / "b")]
    assert modes == [0o755, 0o700, 0o700]


def test_runs_are_found_at_any_depth_but_not_inside_runs_or_hidden_directories(tmp_path):
    for name in ("b", "a/deep", "b/inner", ".hidden/c"):
        (tmp_path / name).mkdir(parents=True)
        write_facts(tmp_path / name, FACTS_OF_RUN)
    assert sorted(find_runs(tmp_path)) == [tmp_path / "a" / "deep", tmp_path / "b"]
    assert list(find_runs(tmp_path / "b")) == [tmp_path / "b"]
    assert list(find_runs(tmp_path / "nowhere")) == []


def test_a_cursor_is_read_back_and_one_that_cannot_be_read_counts_as_none(tmp_path):
    cursor = Cursor(backend="mlflow", next_ordinal=7, known={"run_id": "x"}, refused={"3": "too long"})
    save_cursor(tmp_path, 1, cursor)
    assert load_cursor(tmp_path, 1, "mlflow") == cursor
    assert load_cursors(tmp_path) == [(1, cursor)]
    cursor_path(tmp_path, 1, "mlflow").write_bytes(b"{")
    assert load_cursor(tmp_path, 1, "mlflow") == Cursor(backend="mlflow")
    assert load_cursors(tmp_path / "nowhere") == []


def test_facts_hold_no_python_objects(tmp_path: Path):
    write_facts(tmp_path, FACTS_OF_RUN)
    assert isinstance(msgspec.msgpack.decode((tmp_path / FACTS).read_bytes()), dict)


def test_a_file_whose_permissions_cannot_be_set_leaves_no_descriptor_open(tmp_path, monkeypatch):
    def refuse(fd: int, mode: int) -> None:
        raise OSError("not here")

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(OSError, match="not here"):
        create_private(tmp_path / "x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
