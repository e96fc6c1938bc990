"""A disk that refuses: records wait in order within a bound in bytes, and what exceeds it is counted and told."""

import errno
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranklog.abc import Content, PendingItem
from ranklog.journal.reader import read_run
from ranklog.journal.writer import JournalWriter
from ranklog.model.errors import RanklogWarning
from ranklog.model.losses import DROPPED
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, End, Event, File, Item, Metrics, Record
from ranklog.pipeline.backlog import size_of
from ranklog.pipeline.inbox import Entry, Inbox
from ranklog.pipeline.recorder import Recorder
from ranklog.pipeline.records import RecordBuilder
from ranklog.pipeline.waiting import DiskCalls
from ranklog.process.blackbox import LastValues
from ranklog.process.warnings import Health
from ranklog.reduce.buffer import Buffer

METRIC_BYTES = 300
ITEM_BYTES = 1300


def metrics(step: int) -> Metrics:
    return Metrics(step, 0, -1, {"loss": float(step)})


def item(step: int) -> Item:
    return Item("artifact", f"a{step}", step, 0, -1, 0, "x/y", (File("a", 1000, "", bytes(1000)),))


class Disk:
    """Refuses what the writer appends while ``full``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        append = JournalWriter.append

        def refusing(writer: JournalWriter, records: Sequence[Record]) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            append(writer, records)

        monkeypatch.setattr(JournalWriter, "append", refusing)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@contextmanager
def told() -> Iterator[list[str]]:
    """Texts of ranklog's warnings."""
    out: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield out
    out += [str(each.message) for each in caught if issubclass(each.category, RanklogWarning)]


def recorder(tmp_path: Path, limit_bytes: int) -> Recorder:
    attempt = Attempt(PROTOCOL, "run", 0, Place(), "host", 1, 0, ())
    return Recorder(tmp_path, attempt, wake=lambda: None, health=Health(), limit_bytes=limit_bytes, disk=DiskCalls())


def journaled(run_dir: Path) -> list[Record]:
    return [entry.record for entry in read_run(run_dir) if not isinstance(entry.record, Attempt)]


def steps(run_dir: Path) -> list[int]:
    return [record.step for record in journaled(run_dir) if isinstance(record, Metrics)]


def test_the_sizes_that_these_tests_count_with_are_the_ones_that_are_estimated() -> None:
    assert (size_of(metrics(0)), size_of(item(0))) == (METRIC_BYTES, ITEM_BYTES)


def test_what_waited_within_the_bound_is_journaled_once_and_in_order(tmp_path: Path, disk: Disk) -> None:
    kept = recorder(tmp_path, 100 * METRIC_BYTES)
    kept.write([metrics(0)])
    disk.full = True
    with told() as texts:
        for step in range(1, 51):
            kept.write([metrics(step)])
        assert not kept.sync()
    disk.full = False
    assert kept.sync()
    assert (steps(tmp_path), kept.lost) == (list(range(51)), 0)
    (text,) = texts
    assert "No space left on device" in text, "the cause"
    assert "free space or quota" in text, "the cure"


def test_above_the_bound_the_oldest_contents_go_first_and_then_the_newest_metrics(tmp_path: Path, disk: Disk) -> None:
    kept = recorder(tmp_path, 10 * METRIC_BYTES)
    disk.full = True
    with told():
        kept.write([item(0), metrics(1), item(2)])
        for step in range(3, 21):
            kept.write([metrics(step)])
    disk.full = False
    kept.write([End("FINISHED", 0)])
    assert not [record for record in journaled(tmp_path) if isinstance(record, Item)]
    assert steps(tmp_path) == [1, *range(3, 12)], "the newest metrics were refused, the oldest ten kept"
    assert kept.lost == 2 + 9


def test_what_was_dropped_is_counted_told_once_and_said_by_the_run_when_the_disk_is_well(
    tmp_path: Path, disk: Disk
) -> None:
    kept = recorder(tmp_path, 10 * METRIC_BYTES)
    for times, first in enumerate((0, 100), start=1):  # the disk fills up twice
        disk.full = True
        with told() as texts:
            kept.write([metrics(first + step) for step in range(15)])
            kept.write([metrics(first + 15)])
        assert len([text for text in texts if "RANKLOG_BUFFER_MIB" in text]) == (1 if times == 1 else 0)
        assert kept.lost == 6 * times, "of 16 there is room for 10"
        disk.full = False
        kept.write([metrics(first + 50)])
        kept.write([metrics(first + 51)])
    events = [record.text for record in journaled(tmp_path) if isinstance(record, Event) and record.code == DROPPED]
    assert [int(text.split()[0]) for text in events] == [6, 6]
    assert steps(tmp_path) == [*range(10), 50, 51, *range(100, 110), 150, 151]


def test_what_waits_when_the_journal_is_closed_is_counted_as_lost(tmp_path: Path, disk: Disk) -> None:
    kept = recorder(tmp_path, 100 * METRIC_BYTES)
    disk.full = True
    with told():
        kept.write([metrics(step) for step in range(5)])
        kept.close()
        kept.write([metrics(5)])
    assert (kept.lost, steps(tmp_path)) == (6, [])


class Shelf:
    """Stores contents, or refuses, or waits while it refuses."""

    def __init__(self) -> None:
        self.full = True
        self.busy = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def store(self, content: Content, inline: bool) -> File:
        self.busy.set()
        assert self.go.wait(120)
        if self.full and content.source != b"small":
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return File(content.path, 1, "0" * 64)


def parcel(name: str, step: int, source: bytes = b"large") -> PendingItem:
    return PendingItem(Item("artifact", name, step, 0, -1, 0, "x/y", ()), (Content(name, source),))


def inbox_of(entries: Sequence[Entry]) -> Inbox:
    inbox = Inbox(2**20, stalled=lambda: False, full=lambda: None)
    inbox.put_all(entries)
    return inbox


def drain(shelf: Shelf, inbox: Inbox, out: list[Record]) -> RecordBuilder:
    return RecordBuilder(
        inbox,
        rows=Buffer(),
        emit=out.extend,
        store=shelf.store,
        health=Health(),
        rank=0,
        shared=0,
        last=LastValues(),
        limit_bytes=2**20,
    )


def test_an_item_that_is_being_tried_again_is_not_taken_for_stored() -> None:
    """Else a flush beside the drain thread would answer that all is in the journal."""
    shelf, out = Shelf(), list[Record]()
    worker = drain(shelf, inbox_of([parcel("a", 0)]), out)
    with told():
        worker.run_once()
        assert worker.waiting == 1
        shelf.busy.clear()
        shelf.go.clear()
        thread = threading.Thread(target=worker.run_once)
        thread.start()
        assert shelf.busy.wait(120)
        assert worker.waiting == 1
        shelf.full = False
        shelf.go.set()
        thread.join(120)
    assert (worker.waiting, len(out)) == (0, 1)


def test_an_item_is_in_the_journal_before_it_no_longer_waits() -> None:
    seen: list[int] = []
    shelf = Shelf()
    inbox = inbox_of([parcel("a", 0)])
    worker = drain(shelf, inbox, [])
    with told():
        worker.run_once()
    shelf.full = False
    worker._emit = lambda records: seen.append(worker.waiting)
    worker.run_once()
    assert (seen, worker.waiting) == ([1], 0)


def test_the_newest_of_items_of_one_name_stays_the_newest_when_the_older_ones_had_to_wait() -> None:
    shelf, out = Shelf(), list[Record]()
    inbox = inbox_of([parcel("a", 0), parcel("a", 1, b"small"), parcel("b", 2, b"small")])
    worker = drain(shelf, inbox, out)
    with told():
        worker.run_once()
    assert [record.name for record in out if isinstance(record, Item)] == ["b"], "another name need not wait"
    inbox.put(parcel("a", 3))
    shelf.full = False
    worker.run_once()
    assert [record.step for record in out if isinstance(record, Item) and record.name == "a"] == [0, 1, 3]


def test_a_sync_after_closing_answers_whether_the_disk_has_everything_and_begins_no_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = recorder(tmp_path, 100 * METRIC_BYTES)
    kept.write([metrics(0)])

    def fails(writer: JournalWriter) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with told(), monkeypatch.context() as broken:
        broken.setattr(JournalWriter, "sync", fails)
        kept.close()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert not kept.sync()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
