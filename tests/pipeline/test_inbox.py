"""The inbox is bounded, and no thread waits for room that nobody can make."""

import threading
from pathlib import Path

import pytest

from ranklog import JournalLogger
from ranklog.abc import Content, PendingItem
from ranklog.model.errors import RanklogWarning
from ranklog.model.place import Place
from ranklog.model.record import Item
from ranklog.pipeline import inbox as inbox_module
from ranklog.pipeline.contents import RunDirectory
from ranklog.pipeline.inbox import Entry, Inbox
from ranklog.pipeline.sink import SessionSink
from ranklog.process.warnings import Health
from ranklog.values.snapshot import VALUE_BYTES


def call(values: int) -> Entry:
    return {str(index): 1.0 for index in range(values)}, 0, 0, 1, None, None


def take_elsewhere(inbox: Inbox) -> None:
    """Take what is queued as the drain thread does: in another thread."""
    thread = threading.Thread(target=inbox.take)
    thread.start()
    thread.join()


def test_the_thread_that_takes_never_waits_for_room() -> None:
    """A handler of warnings may log in the drain thread."""
    inbox = Inbox(1, stalled=lambda: False, full=lambda: None)
    inbox.take()
    inbox.put(call(1))
    inbox.put(call(1))
    assert (len(inbox), inbox.dropped) == (2, 0)


def test_an_entry_is_dropped_when_nothing_is_taken_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drain thread may wait for a lock that the logging thread holds."""
    monkeypatch.setattr(inbox_module, "PATIENCE_S", 0.01)
    told: list[None] = []
    inbox = Inbox(1, stalled=lambda: False, full=lambda: told.append(None))
    inbox.put(call(1))
    inbox.put(call(1))
    assert (len(inbox), inbox.dropped, len(told)) == (1, 1, 1)


def test_calls_with_many_values_count_by_their_size_whatever_was_taken_before() -> None:
    inbox = Inbox(2**20, stalled=lambda: True, full=lambda: None)
    for _ in range(100):
        inbox.put(call(1))
    take_elsewhere(inbox)
    for _ in range(100):
        inbox.put(call(1000))
    assert len(inbox) <= 11, "each takes about 100 kB"
    assert inbox.dropped == 100 - len(inbox)
    take_elsewhere(inbox)
    inbox.put(call(1000))
    assert len(inbox) == 1, "there is room again"


def test_items_do_not_wait_behind_a_background_job_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklog.pipeline.sink.PATIENCE_S", 0.01)
    inbox = Inbox(2**20, stalled=lambda: False, full=lambda: None)
    directory = RunDirectory(Place(), tmp_path, ask_run_id=lambda deadline_s: None, met=lambda: True)
    sink = SessionSink(Place(), directory, inbox, Health())
    hangs, stopped = threading.Event(), threading.Event()

    def job() -> list[PendingItem]:
        hangs.wait()
        return []

    def drain() -> None:
        while not stopped.wait(0.01):
            inbox.take()

    draining = threading.Thread(target=drain)  # it works, so only the job holds the items up
    draining.start()
    sink.background("artifact 'weights'", job)
    item = Item("artifact", "weights", 0, 0, 1, 0, "application/octet-stream", ())
    for _ in range(10):
        sink.submit(item, [Content("weights.bin", bytes(300 * 1024))])
    assert inbox.dropped
    hangs.set()
    stopped.set()
    draining.join()


def test_items_that_wait_behind_a_background_job_are_bounded(tmp_path: Path) -> None:
    inbox = Inbox(2**20, stalled=lambda: True, full=lambda: None)
    directory = RunDirectory(Place(), tmp_path, ask_run_id=lambda deadline_s: None, met=lambda: True)
    sink = SessionSink(Place(), directory, inbox, Health())
    done = threading.Event()

    def job() -> list[PendingItem]:
        done.wait()
        return []

    sink.background("artifact 'weights'", job)
    item = Item("artifact", "weights", 0, 0, 1, 0, "application/octet-stream", ())
    for _ in range(10):
        sink.submit(item, [Content("weights.bin", bytes(300 * 1024))])
    done.set()
    assert sink.worker.wait(float("inf"))
    assert (len(inbox), inbox.dropped) == (3, 7)


@pytest.mark.parametrize("values", [1, 1000])
def test_what_a_logger_queues_is_bounded_while_nothing_is_taken(
    values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKLOG_BUFFER_MIB", "1")
    monkeypatch.setattr(inbox_module, "PATIENCE_S", 0.0)
    logger = JournalLogger(tmp_path, log_freq="batch")
    logger.create_logger_context()
    session = logger._session
    assert session is not None
    blocked, taken = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        taken.wait()

    session._drain.post(block)
    blocked.wait()
    queued = len(session.inbox)
    metrics = {str(index): 1.0 for index in range(values)}
    with pytest.warns(RanklogWarning, match="RANKLOG_BUFFER_MIB=1"):
        while not session.inbox.dropped:
            logger.log_metrics(metrics, step=0)
    assert (len(session.inbox) - queued) * values * VALUE_BYTES <= 2**20
    taken.set()
    logger.destroy_logger_context()
