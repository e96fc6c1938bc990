"""Delivery of one run in this process: each backend gets its records once and in order, also after errors."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ranklog.abc import Backend, Refused, RunContext
from ranklog.backends.shared.delivery_log import LOG
from ranklog.delivery.batches import BATCH_ENTRIES, PATIENCE_S
from ranklog.delivery.lock import LOCK, LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.delivery.thread import ForwardThread
from ranklog.journal.cursor import Cursor, load_cursor, save_cursor
from ranklog.journal.frame import encode_frame
from ranklog.journal.layout import segment_name
from ranklog.journal.store import blob_path, store_bytes
from ranklog.journal.writer import JournalWriter
from ranklog.model.errors import MissingExtraError
from ranklog.model.record import Attempt, End, Entry, Event, Item, Metrics, Status

StartAttempt = Callable[..., JournalWriter]
END = Finish("KILLED")


class Recording:
    """A backend that keeps what it gets; what it shall do otherwise is set on the instance."""

    def __init__(self) -> None:
        self.contexts: list[RunContext] = []
        self.batches: list[list[Entry]] = []
        self.closed: list[Status | None] = []
        self.answer: dict[str, str] = {"run_id": "r-1"}
        self.errors: list[Exception] = []
        self.open_errors: list[Exception] = []
        self.close_errors: list[Exception] = []
        self.hang: threading.Event | None = None

    def open(self, *, context: RunContext) -> dict[str, str]:
        if self.open_errors:
            raise self.open_errors.pop(0)
        self.contexts.append(context)
        answer, self.answer = self.answer, {"run_id": "r-1"}
        return answer

    def deliver(self, *, entries: Sequence[Entry]) -> None:
        if self.hang is not None:
            self.hang.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append(list(entries))

    def close(self, *, status: Status | None, timeout_s: float) -> None:
        if self.close_errors:
            raise self.close_errors.pop(0)
        self.closed.append(status)

    @property
    def ordinals(self) -> list[int]:
        return [entry.ordinal for batch in self.batches for entry in batch]

    @property
    def steps(self) -> list[int]:
        return [e.record.step for batch in self.batches for e in batch if isinstance(e.record, Metrics)]


class Backends(dict[str, Recording]):
    """One `Recording` for each name, made when first asked for."""

    def __missing__(self, name: str) -> Recording:
        return self.setdefault(name, Recording())

    def create(self, name: str) -> Backend:
        return self[name]


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def backends() -> Backends:
    return Backends()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run-a"


@pytest.fixture
def pump(run_dir: Path, backends: Backends, clock: Clock):
    """Makes a pump as a new process would; all are closed at the end."""
    made: list[Pump] = []

    def make() -> Pump:
        while made:
            made.pop().close()
        made.append(Pump(run_dir, console=io.StringIO(), create=backends.create, clock=clock))
        return made[0]

    yield make
    while made:
        made.pop().close()


def metrics(*steps: int, to: int = -1) -> list[Metrics]:
    return [Metrics(step, step, to, {"loss": float(step)}) for step in steps]


def deliver_all(pump: Pump, finish: Finish | None = None) -> None:
    for _ in range(100):
        steps = pump.run_once(finish)
        if not any(step.moved for step in steps):
            return
    raise AssertionError("delivery does not come to an end")


def test_a_live_run_is_delivered_as_it_grows_and_closed_at_its_end(start_attempt, pump, backends, run_dir):
    writer = start_attempt()
    live = pump()
    writer.append(metrics(0, 1))
    deliver_all(live)
    assert backends["recording"].steps == [0, 1] and backends["recording"].closed == []
    writer.append([*metrics(2), End("FAILED", 0)])
    deliver_all(live)
    assert backends["recording"].ordinals == [0, 1, 2, 3, 4]
    assert backends["recording"].closed == ["FAILED"]
    cursor = load_cursor(run_dir, 0, "recording")
    assert (cursor.next_ordinal, cursor.status, cursor.known) == (5, "FAILED", {"run_id": "r-1"})
    assert all(step.done for step in live.run_once(END))
    assert len(backends["recording"].contexts) == 1


def test_each_backend_gets_its_own_records_and_those_for_all_backends(start_attempt, pump, backends):
    writer = start_attempt(backends=("a", "b"))
    writer.append([*metrics(1, to=0b01), *metrics(2, to=0b10), *metrics(3, to=0b11), *metrics(4, to=0), *metrics(5)])
    writer.append([Event("info", "x", "y", 0), End("FINISHED", 0)])
    deliver_all(pump())
    assert backends["a"].steps == [1, 3, 5]
    assert backends["b"].steps == [2, 3, 5]
    for backend in backends.values():
        others = [type(e.record) for batch in backend.batches for e in batch if not isinstance(e.record, Metrics)]
        assert others == [Attempt, Event, End]


def test_the_context_gives_a_backend_its_known_facts_and_its_position(start_attempt, pump, backends):
    writer = start_attempt()
    backends["recording"].answer = {"run_id": "r-9", "url": "http://x"}
    deliver_all(pump())
    writer.append(metrics(0))
    deliver_all(pump())
    first, second = backends["recording"].contexts
    assert (first.known, first.resumed_at, first.facts.run_id) == ({}, 0, "run-a")
    assert (second.known, second.resumed_at) == ({"run_id": "r-9", "url": "http://x"}, 1)


def test_each_record_arrives_once_over_restarts_and_the_cursor_moves_after_each_batch(
    start_attempt, pump, backends, run_dir
):
    writer = start_attempt()
    writer.append(metrics(*range(5000)))
    backend = backends["recording"]
    seen = []
    for _ in range(5):
        pump().run_once()  # a new process for each step
        seen.append(load_cursor(run_dir, 0, "recording").next_ordinal)
    assert seen == [2000, 4000, 5001, 5001, 5001]
    assert backend.ordinals == list(range(5001))
    assert max(len(batch) for batch in backend.batches) == BATCH_ENTRIES


def test_errors_of_one_backend_do_not_affect_others_and_are_retried_with_growing_pauses(
    start_attempt, pump, backends, run_dir, clock
):
    writer = start_attempt(backends=("down", "up"))
    writer.append([*metrics(0), End("FINISHED", 0)])
    backends["down"].errors = [ConnectionError("http://ada:c4n4ry@host is\n down")] * 8
    live = pump()
    deliver_all(live)
    assert backends["up"].ordinals == [0, 1, 2] and backends["up"].closed == ["FINISHED"]
    cursor = load_cursor(run_dir, 0, "down")
    assert (cursor.next_ordinal, cursor.failures) == (0, 1)
    assert cursor.error == "ConnectionError: http://***@host is down"
    waits = []
    while backends["down"].errors:
        step = live.run_once()[0]
        assert step.failed and step.due_s is not None
        waits.append(step.due_s - clock.now_s)
        clock.now_s = step.due_s
        live.run_once()
    assert all(0.5 * wait <= waits[i] <= wait for i, wait in enumerate([0.5, 1, 2, 4, 8, 16, 32][: len(waits)]))
    clock.now_s += 60
    deliver_all(live)
    assert backends["down"].ordinals == [0, 1, 2]
    # From the second failure on its client may be dead: each try is made by a new one.
    assert backends["down"].closed == [None] * 7 + ["FINISHED"]
    cursor = load_cursor(run_dir, 0, "down")
    assert (cursor.error, cursor.failures, cursor.status) == (None, 8, "FINISHED")
    log = (run_dir / LOG).read_text()
    assert "Traceback" in log and "c4n4ry" not in log


def test_refused_records_are_set_aside_with_the_reason_and_the_rest_is_delivered(
    start_attempt, pump, backends, run_dir
):
    writer = start_attempt()
    writer.append([*metrics(0, 1, 2), End("FINISHED", 0)])
    backends["recording"].errors = [Refused("name\ntoo long", [2]), Refused("", [1, 3])]
    deliver_all(pump())
    assert backends["recording"].ordinals == [0, 4]
    assert backends["recording"].closed == ["FINISHED"]
    refused = load_cursor(run_dir, 0, "recording").refused
    assert refused == {"2": "name too long", "1": "no reason given", "3": "no reason given"}


def test_a_backend_that_refuses_records_it_did_not_get_counts_as_failing(start_attempt, pump, backends, run_dir):
    start_attempt()
    backends["recording"].errors = [Refused("what?", [77])]
    assert pump().run_once()[0].failed
    assert "records that it did not get" in str(load_cursor(run_dir, 0, "recording").error)


def test_a_backend_may_ask_for_everything_again_once(start_attempt, pump, backends, run_dir):
    writer = start_attempt(segment_bytes=400)
    for step in range(20):
        writer.append(metrics(step))
    deliver_all(pump())
    first = list(backends["recording"].ordinals)
    backends["recording"].batches.clear()
    backends["recording"].answer = {"run_id": "r-1", "redeliver_from": "3"}
    writer.append(metrics(20))
    deliver_all(pump())
    assert backends["recording"].ordinals[:-1] == [ordinal for ordinal in first if ordinal >= 3]
    assert backends["recording"].steps == list(range(2, 21))
    assert load_cursor(run_dir, 0, "recording").known == {"run_id": "r-1"}


def test_a_repeated_delivery_of_a_resumed_run_does_not_close_at_the_end_of_the_first_attempt(
    start_attempt, pump, backends
):
    start_attempt().append([*metrics(0), End("FAILED", 0)])
    deliver_all(pump())
    writer = start_attempt(attempt=1)
    writer.append([*metrics(1), End("FINISHED", 0)])
    backend = backends["recording"]
    backend.batches.clear()
    backend.answer = {"redeliver_from": "0"}
    deliver_all(pump())
    assert backend.ordinals == list(range(6))
    assert backend.closed == ["FAILED", "FINISHED"]


def test_a_run_that_resumes_after_its_end_is_opened_again(start_attempt, pump, backends, run_dir):
    start_attempt().append([*metrics(0), End("FAILED", 0)])
    live = pump()
    deliver_all(live)
    writer = start_attempt(attempt=1)
    deliver_all(live)
    assert load_cursor(run_dir, 0, "recording").status is None
    assert [context.attempt for context in backends["recording"].contexts] == [0, 1]
    writer.append([End("FINISHED", 0)])
    deliver_all(live)
    assert backends["recording"].closed == ["FAILED", "FINISHED"]
    assert backends["recording"].ordinals == [0, 1, 2, 3, 4]


def test_a_run_without_an_end_is_closed_once_over_restarts_with_the_given_status(
    start_attempt, pump, backends, run_dir
):
    start_attempt().append(metrics(0))
    deliver_all(pump(), Finish("KILLED"))
    deliver_all(pump(), Finish("KILLED"))
    assert backends["recording"].closed == ["KILLED"]
    assert load_cursor(run_dir, 0, "recording").status == "KILLED"


def test_a_run_that_may_resume_is_left_open(start_attempt, pump, backends, run_dir):
    start_attempt().append(metrics(0))
    deliver_all(pump(), Finish(None))
    assert backends["recording"].closed == [None]
    assert load_cursor(run_dir, 0, "recording").status is None


def test_an_end_that_the_backend_did_not_accept_is_retried_also_by_another_process(
    start_attempt, pump, backends, run_dir, clock
):
    start_attempt().append([*metrics(0), End("FINISHED", 0)])
    backends["recording"].close_errors = [ConnectionError("x"), ConnectionError("x")]
    live = pump()
    live.run_once()
    clock.now_s += 100
    live.run_once()
    cursor = load_cursor(run_dir, 0, "recording")
    assert (cursor.next_ordinal, cursor.status) == (2, None)
    deliver_all(pump())
    assert load_cursor(run_dir, 0, "recording").status == "FINISHED"
    assert backends["recording"].closed[-1] == "FINISHED"
    assert backends["recording"].steps == [0]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ModuleNotFoundError("No module named 'mlflow'", name="mlflow"), "pip install 'ranklog[mlflow]'"),
        (MissingExtraError("mlflow is missing: pip install 'ranklog[mlflow]'"), "mlflow is missing"),
    ],
)
def test_a_missing_package_is_named_with_its_extra_and_retried_rarely(
    start_attempt, run_dir, backends, clock, error, shown
):
    start_attempt(backends=("mlflow", "up")).append([End("FINISHED", 0)])

    def create(name: str) -> Backend:
        if name == "mlflow":
            raise error
        return backends[name]

    pump = Pump(run_dir, console=io.StringIO(), create=create, clock=clock)
    first, _ = pump.run_once()
    assert first.hopeless and first.due_s is not None and first.due_s - clock.now_s >= 300
    assert shown in str(load_cursor(run_dir, 0, "mlflow").error)
    assert list(pump.run(Finish(None)))  # comes to an end instead of waiting for a package
    assert backends["up"].closed == ["FINISHED"]
    pump.close()


def test_an_unknown_backend_is_reported_with_the_known_ones(start_attempt, run_dir):
    start_attempt(backends=("nope",)).append([End("FINISHED", 0)])
    pump = Pump(run_dir, console=io.StringIO())
    assert pump.run_once()[0].hopeless
    pump.close()
    assert "'nope' is not installed: choose one of" in str(load_cursor(run_dir, 0, "nope").error)


def test_a_cursor_that_cannot_be_saved_stops_no_delivery_and_is_saved_later(
    start_attempt, pump, backends, run_dir, clock, monkeypatch
):
    writer = start_attempt()
    live = pump()
    deliver_all(live)
    writer.append(metrics(0))

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("ranklog.delivery.feed.save_cursor", refuse)
    assert live.run_once()[0].failed
    monkeypatch.undo()
    clock.now_s += 100
    deliver_all(live, Finish(None))
    assert backends["recording"].steps == [0]
    assert load_cursor(run_dir, 0, "recording").next_ordinal == 2


def test_a_backend_keeps_its_cursor_when_a_later_attempt_lists_it_elsewhere_or_not_at_all(
    start_attempt, pump, backends, run_dir
):
    start_attempt(backends=("a", "b")).append([*metrics(1, to=0b01), *metrics(2, to=0b10), End("FAILED", 0)])
    deliver_all(pump())
    writer = start_attempt(backends=("b", "c"), attempt=1)
    writer.append([*metrics(3, to=0b01), *metrics(4, to=0b10), End("FINISHED", 0)])
    deliver_all(pump())
    assert (backends["a"].steps, backends["b"].steps, backends["c"].steps) == ([1], [2, 3], [4])
    assert backends["b"].contexts[-1].known == {"run_id": "r-1"}
    assert backends["a"].closed == ["FAILED"]
    assert backends["b"].closed == ["FAILED", "FINISHED"]


def test_segments_repeat_their_attempt_but_a_backend_sees_it_once(start_attempt, pump, backends):
    writer = start_attempt(segment_bytes=300)
    for step in range(20):
        writer.append(metrics(step))
        deliver_all(pump())
    records = [entry.record for batch in backends["recording"].batches for entry in batch]
    assert sum(isinstance(record, Attempt) for record in records) == 1
    assert backends["recording"].steps == list(range(20))


def test_a_second_process_that_delivers_a_run_is_refused_with_the_name_of_the_first(start_attempt, pump, run_dir):
    start_attempt()
    pump()
    with pytest.raises(LockedError, match=r"process \d+ on .* delivers this run already.*delete .*delivery.lock"):
        Pump(run_dir)


def test_a_process_that_lost_its_lock_stops_and_later_continues_from_the_cursor_on_disk(
    start_attempt, pump, backends, run_dir, clock
):
    writer = start_attempt()
    live = pump()
    deliver_all(live)
    (run_dir / LOCK).unlink()  # as somebody does who takes this process for dead
    other = Pump(run_dir, console=io.StringIO(), create=backends.create)
    writer.append(metrics(0))
    assert live.run_once()[0].failed
    deliver_all(other)
    other.close()
    writer.append(metrics(1))
    clock.now_s += 100
    deliver_all(live)
    assert backends["recording"].steps == [0, 1]


class TestForwardThread:
    def test_it_delivers_live_and_reports_that_everything_is_done(self, start_attempt, run_dir, backends):
        writer = start_attempt()
        thread = ForwardThread(run_dir, io.StringIO(), create=backends.create)
        writer.append([*metrics(0, 1), End("FINISHED", 0)])
        thread.wake()
        assert thread.close(20)
        assert backends["recording"].steps == [0, 1]
        assert backends["recording"].closed == ["FINISHED"]
        assert not (run_dir / LOCK).exists()

    def test_a_backend_that_hangs_blocks_only_itself(self, start_attempt, run_dir, backends):
        writer = start_attempt(backends=("hangs", "up"))
        backends["hangs"].hang = threading.Event()
        thread = ForwardThread(run_dir, io.StringIO(), create=backends.create)
        writer.append([*metrics(0), End("FINISHED", 0)])
        try:
            assert not thread.close(0.3)
            thread._leader.join(0)
            deadline = threading.Event()
            while backends["up"].closed != ["FINISHED"] and not deadline.wait(0.01):
                pass
        finally:
            backends["hangs"].hang.set()
        assert thread.close(20)
        assert backends["hangs"].closed == ["FINISHED"]

    def test_a_backend_that_cannot_work_is_left_and_reported(self, start_attempt, run_dir, backends):
        start_attempt(backends=("up", "nope")).append([End("FINISHED", 0)])

        def create(name: str) -> Backend:
            if name == "nope":
                raise ModuleNotFoundError("nope")
            return backends[name]

        assert not ForwardThread(run_dir, io.StringIO(), create=create).close(20)
        assert backends["up"].closed == ["FINISHED"]

    def test_stop_leaves_the_rest_and_the_run_open(self, start_attempt, run_dir, backends):
        writer = start_attempt()
        thread = ForwardThread(run_dir, io.StringIO(), create=backends.create)
        writer.append(metrics(0))
        assert thread.stop(20)
        assert set(backends["recording"].closed) <= {None}
        assert load_cursor(run_dir, 0, "recording").status is None

    def test_a_run_that_never_began_has_nothing_to_deliver(self, tmp_path):
        assert ForwardThread(tmp_path).close(20)

    def test_a_later_attempt_has_its_own_forwarder(self, start_attempt, run_dir, backends):
        start_attempt()
        backends["recording"].hang = threading.Event()
        old = ForwardThread(run_dir, io.StringIO(), create=backends.create)
        while not backends["recording"].contexts:
            threading.Event().wait(0.01)
        start_attempt(attempt=1).append([*metrics(1), End("FINISHED", 0)])
        assert not old.close(0.05, status="KILLED")
        backends["recording"].hang.set()
        assert old.close(20, status="KILLED")
        assert backends["recording"].closed == [None]
        new = ForwardThread(run_dir, io.StringIO(), create=backends.create)
        assert new.close(20)
        assert backends["recording"].closed == [None, "FINISHED"]
        assert backends["recording"].ordinals == list(range(4))


def image(run_dir: Path, name: str) -> tuple[Item, Path]:
    """An item with a content in ``blobs/``, and where that is."""
    file = store_bytes(run_dir, f"{name}.png", name.encode() * 50_000)
    return Item("image", name, 0, 0, -1, 0, "image/png", (file,)), blob_path(run_dir, file.sha256)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "its content 'lost.png' is missing"),
        (lambda path: os.truncate(path, 10), "its content 'lost.png' has 10 bytes instead of 200000"),
    ],
)
def test_an_item_without_content_is_set_aside_at_the_third_try_and_the_rest_is_delivered(
    start_attempt, pump, backends, run_dir, clock, spoil, reason
):
    writer = start_attempt()
    (lost, path), (kept, _) = image(run_dir, "lost"), image(run_dir, "kept")
    writer.append([*metrics(0), lost, kept, *metrics(1), End("FINISHED", 0)])
    spoil(path)
    live = pump()
    for _ in range(2):
        assert live.run_once()[0].failed
        assert reason in str(load_cursor(run_dir, 0, "recording").error)
        clock.now_s += 100
    deliver_all(live)
    assert backends["recording"].ordinals == [0, 1, 3, 4, 5]
    assert backends["recording"].closed[-1] == "FINISHED"
    cursor = load_cursor(run_dir, 0, "recording")
    assert (cursor.refused, cursor.error, cursor.next_ordinal) == ({"2": reason}, None, 6)


def test_content_that_appears_late_is_delivered(start_attempt, pump, backends, run_dir, clock):
    item, path = image(run_dir, "late")
    start_attempt().append([item])
    content = path.read_bytes()
    path.unlink()
    live = pump()
    assert live.run_once()[0].failed
    path.write_bytes(content)
    clock.now_s += 100
    deliver_all(live)
    assert backends["recording"].ordinals == [0, 1]
    assert load_cursor(run_dir, 0, "recording").refused == {}


def test_a_backend_without_records_saves_its_cursor_only_when_it_moves(start_attempt, pump, run_dir, monkeypatch):
    writer = start_attempt(backends=("a", "b"))
    live = pump()
    deliver_all(live)
    saved = []

    def watch(run_dir: Path, index: int, cursor: Cursor) -> None:
        saved.append(cursor.backend)
        save_cursor(run_dir, index, cursor)

    monkeypatch.setattr("ranklog.delivery.feed.save_cursor", watch)
    writer.append(metrics(0, 1, to=0b01))
    deliver_all(live)
    assert load_cursor(run_dir, 1, "b").next_ordinal == 3
    for _ in range(3):
        live.run_once()
    assert sorted(saved) == ["a", "b"]


def damage_second_record(run_dir: Path, writer: JournalWriter) -> None:
    """Spoil the frame that is written next; leaves it whole in length."""
    path = run_dir / segment_name(0)
    place = path.stat().st_size
    writer.append(metrics(77))
    with path.open("r+b") as file:
        file.seek(place + 30)
        file.write(b"\xff\xff")


def test_damage_is_noted_in_the_cursor_and_later_segments_are_delivered(start_attempt, pump, backends, run_dir):
    writer = start_attempt()
    writer.append(metrics(0))
    damage_second_record(run_dir, writer)
    writer.close()
    deliver_all(pump())
    damage = load_cursor(run_dir, 0, "recording").damage
    assert list(damage) == [segment_name(0)] and "checksum does not match" in damage[segment_name(0)]
    assert "journal-00000.rlj cannot be read from byte" in (run_dir / LOG).read_text()
    start_attempt(attempt=1).append([*metrics(1), End("FINISHED", 0)])
    deliver_all(pump())
    deliver_all(pump())
    assert backends["recording"].steps == [0, 1] and backends["recording"].closed[-1] == "FINISHED"
    assert load_cursor(run_dir, 0, "recording").damage == damage


def test_records_that_the_next_segment_repeats_are_delivered_once_and_are_no_damage(
    start_attempt, pump, backends, run_dir
):
    writer = start_attempt()
    writer.append(metrics(0))
    live = pump()
    deliver_all(live)
    damage_second_record(run_dir, writer)
    deliver_all(live)
    assert load_cursor(run_dir, 0, "recording").damage, "as long as nothing repeats it"
    writer._fd.trusted = False  # as after a sync that failed
    writer.append(metrics(78))
    writer.sync()
    writer.append([*metrics(79), End("FINISHED", 0)])
    deliver_all(live, END)
    assert backends["recording"].steps == [0, 77, 78, 79] and backends["recording"].closed == ["FINISHED"]
    assert load_cursor(run_dir, 0, "recording").damage == {}
    deliver_all(pump(), END)
    assert backends["recording"].steps == [0, 77, 78, 79]


def test_damage_that_is_repaired_before_delivery_reaches_it_is_forgotten(start_attempt, pump, backends, run_dir):
    writer = start_attempt()
    damage_second_record(run_dir, writer)
    deliver_all(pump())
    assert load_cursor(run_dir, 0, "recording").damage
    path = run_dir / segment_name(0)
    whole = encode_frame(metrics(77), 1)
    os.truncate(path, path.stat().st_size - len(whole))
    with path.open("ab") as file:
        file.write(whole)
    deliver_all(pump())
    assert backends["recording"].steps == [77]
    assert load_cursor(run_dir, 0, "recording").damage == {}


def test_a_damaged_length_at_the_end_of_an_ended_run_is_damage(start_attempt, pump, run_dir):
    writer = start_attempt()
    path = run_dir / segment_name(0)
    place = path.stat().st_size
    writer.append(metrics(0))
    writer.append(metrics(1))
    with path.open("r+b") as file:
        file.seek(place + 6)
        file.write(b"\x01")
    live = pump()
    deliver_all(live)
    assert load_cursor(run_dir, 0, "recording").damage == {}
    deliver_all(live, END)
    assert "damaged length" in load_cursor(run_dir, 0, "recording").damage[segment_name(0)]


def test_a_damaged_run_does_not_count_as_delivered(start_attempt, run_dir, backends):
    writer = start_attempt()
    damage_second_record(run_dir, writer)
    writer.close()
    assert not ForwardThread(run_dir, io.StringIO(), create=backends.create).close(20, status="KILLED")
    assert backends["recording"].closed == ["KILLED"]


@pytest.fixture
def late_end(start_attempt: StartAttempt, run_dir: Path) -> Callable[[], None]:
    """A run of two attempts of which this node does not see the end of the first yet; the call brings it."""
    first = start_attempt()
    first.append(metrics(0))
    path = run_dir / segment_name(0)
    seen = path.stat().st_size
    first.append(metrics(1))
    first.close()
    start_attempt(attempt=1).append([*metrics(2), End("FINISHED", 0)])
    whole = path.read_bytes()
    os.truncate(path, seen)

    def arrive() -> None:
        path.write_bytes(whole)

    return arrive


def test_a_run_whose_records_are_not_all_visible_is_neither_delivered_beyond_them_nor_closed(late_end, pump, backends):
    delivery = pump()
    deliver_all(delivery, END)
    (step,) = delivery.run_once(END)
    assert (step.done, step.due_s is not None) == (False, True)
    assert (backends["recording"].steps, backends["recording"].closed) == ([0], [])
    late_end()
    deliver_all(delivery, END)
    assert (backends["recording"].steps, backends["recording"].closed) == ([0, 1, 2], ["FINISHED"])


def test_records_that_stay_invisible_are_named_and_the_rest_is_delivered(late_end, pump, backends, clock, run_dir):
    delivery = pump()
    deliver_all(delivery, END)
    clock.now_s += PATIENCE_S + 1
    deliver_all(delivery, END)
    assert (backends["recording"].steps, backends["recording"].closed) == ([0, 2], ["FINISHED"])
    (reason,) = load_cursor(run_dir, 0, "recording").damage.values()
    assert reason.endswith("records 2 to 2 are missing at its end")
