"""Items need a sink only: small contents come at once, large files by a background job."""

from pathlib import Path

from list_sink import ListSink, call_of

from ranklog.abc import Content, PendingItem
from ranklog.items.encode import take
from ranklog.items.files import READ_AT_ONCE_BYTES
from ranklog.journal.layout import FACTS
from ranklog.model.record import File


def test_a_small_item_comes_with_its_contents_in_the_call(tmp_path: Path) -> None:
    sink = ListSink(tmp_path)
    take(call_of("words", "note", "text", step=2), sink)
    (pending,) = sink.taken
    assert isinstance(pending, PendingItem)
    assert (pending.item.name, pending.item.step, pending.contents) == ("note", 2, (Content("note.txt", b"words"),))
    assert not sink.jobs


def test_a_large_file_is_stored_by_a_background_job_under_its_kind_and_name(tmp_path: Path) -> None:
    (tmp_path / FACTS).touch()
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(READ_AT_ONCE_BYTES + 1))
    sink = ListSink(tmp_path)
    take(call_of(large, "large", "artifact"), sink)
    assert not sink.taken
    assert [key for key, _ in sink.jobs] == ["artifact 'large'"]
    sink.run_jobs()
    (pending,) = sink.taken
    assert isinstance(pending, PendingItem)
    (stored,) = pending.contents
    assert isinstance(stored, File) and stored.size == READ_AT_ONCE_BYTES + 1


def test_a_large_file_on_a_rank_that_cannot_reach_the_run_directory_is_refused_by_the_job(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(READ_AT_ONCE_BYTES + 1))
    sink = ListSink(tmp_path / "elsewhere")
    take(call_of(large, "large", "artifact"), sink)
    try:
        sink.run_jobs()
    except Exception as error:
        assert "is not there" in str(error)
    else:
        raise AssertionError("a file that cannot be stored must not be taken for stored")
