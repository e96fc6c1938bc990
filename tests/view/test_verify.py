"""Verification finds all damage of a run and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranklog.journal.cursor import Cursor, save_cursor
from ranklog.journal.frame import encode_frame
from ranklog.journal.layout import FACTS, segment_name
from ranklog.journal.store import blob_path, store_bytes
from ranklog.model.errors import RunNotFoundError
from ranklog.model.record import End, Item, Metrics
from ranklog.view.verify import verify_run

BIG = b"x" * 100_000


@pytest.fixture
def run_dir(tmp_path: Path, start_attempt) -> Path:
    """A whole run: two attempts, small and large content, a cursor."""
    run_dir = tmp_path / "run-a"
    writer = start_attempt()
    writer.append([Metrics(0, 0, -1, {"loss": 1.0})])
    for name, data in (("small", b"hello"), ("big", BIG), ("big again", BIG)):
        file = store_bytes(run_dir, name, data)
        writer.append([Item("artifact", name, 0, 0, -1, 0, "application/octet-stream", (file,))])
    writer.close()
    writer = start_attempt(attempt=1)
    writer.append([End("FINISHED", 0)])
    writer.close()
    save_cursor(run_dir, 0, Cursor(backend="recording", next_ordinal=7))
    return run_dir


def the_blob(run_dir: Path) -> Path:
    return next((run_dir / "blobs").iterdir())


def test_a_whole_run_has_no_problems(run_dir):
    report = verify_run(run_dir)
    assert (report.problems, report.remarks) == ([], [])
    assert (report.records, report.segments, report.files) == (7, 2, 3)


def test_a_flipped_byte_is_found_with_segment_and_offset(run_dir):
    path = run_dir / segment_name(0)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    problems = verify_run(run_dir).problems
    assert [p.text for p in problems] == ["checksum does not match"]
    assert problems[0].where.startswith("journal-00000.rlj at byte ")


def test_a_torn_frame_is_a_remark(run_dir):
    with (run_dir / segment_name(1)).open("ab") as file:
        file.write(encode_frame([End("FINISHED", 0)], 7)[:-1])
    report = verify_run(run_dir)
    assert report.problems == []
    assert ["torn frame" in remark.text for remark in report.remarks] == [True]


def test_a_damaged_length_that_hides_later_frames_is_a_problem(run_dir):
    path = run_dir / segment_name(0)
    data = bytearray(path.read_bytes())
    data[6] ^= 1  # third byte of the first frame's length
    path.write_bytes(data)
    assert "frame with a damaged length" in verify_run(run_dir).problems[0].text


def test_a_missing_segment_is_a_gap(run_dir):
    (run_dir / segment_name(0)).unlink()
    assert [p.text for p in verify_run(run_dir).problems] == ["record 5 where 0 was expected"]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda path: path.write_bytes(BIG[:-1]), "has 99999 bytes instead of 100000"),
        (lambda path: path.write_bytes(BIG[:-1] + b"y"), "content does not match its SHA-256"),
        (lambda path: path.unlink(), "its blob cannot be read"),
    ],
)
def test_changed_content_is_found_with_its_record(run_dir, spoil, text):
    spoil(the_blob(run_dir))
    problems = verify_run(run_dir).problems
    assert [p.where for p in problems] == ["record 3, artifact 'big'", "record 4, artifact 'big again'"]
    assert all(text in p.text for p in problems)


def test_files_that_others_may_read_are_problems(run_dir):
    run_dir.chmod(0o755)
    (run_dir / segment_name(0)).chmod(0o644)
    the_blob(run_dir).chmod(0o640)
    found = {p.where.split("/")[-1][:12]: p.text for p in verify_run(run_dir).problems}
    assert found == {
        "run-a": "other users have access: mode 0755 instead of 0700",
        "journal-0000": "other users have access: mode 0644 instead of 0600",
        the_blob(run_dir).name[:12]: "other users have access: mode 0640 instead of 0600",
    }


def test_a_cursor_beyond_the_journal_and_refused_records_are_reported(run_dir):
    save_cursor(run_dir, 0, Cursor(backend="recording", next_ordinal=9, refused={"2": "too long"}))
    report = verify_run(run_dir)
    assert [p.text for p in report.problems] == ["is after record 8, but the journal ends before record 7"]
    assert [r.text for r in report.remarks] == ["record 2 was refused: too long"]


def test_lost_facts_are_a_problem_and_a_directory_without_anything_is_no_run(run_dir, tmp_path):
    (run_dir / FACTS).write_bytes(b"")
    assert [p.where for p in verify_run(run_dir).problems] == [FACTS]
    with pytest.raises(RunNotFoundError):
        verify_run(tmp_path)


def test_a_digest_in_a_record_that_is_no_digest_is_a_problem_not_a_path(run_dir, start_attempt):
    file = store_bytes(run_dir, "x", BIG)
    evil = type(file)("x", 1, "../../../etc/passwd")
    writer = start_attempt(attempt=2)
    writer.append([Item("artifact", "x", 0, 0, -1, 0, "", (evil,))])
    assert "not a SHA-256" in verify_run(run_dir).problems[0].text
    assert blob_path(run_dir, file.sha256).exists()
