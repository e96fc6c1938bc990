"""The journal as a whole: appended records are read back, whatever happens to writer, disk and file."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ranklog.journal.frame as frame_module
import ranklog.journal.reader as reader_module
from ranklog.journal.cursor import Cursor, save_cursor
from ranklog.journal.frame import FRAME_BYTES, FRAME_RECORDS, Frame, FrameDamage, decode_frame, encode_frame
from ranklog.journal.heads import head_before, read_heads
from ranklog.journal.layout import segment_name, segments
from ranklog.journal.reader import JournalReader, last_end, read_run
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, End, File, Item, Metrics


def metrics(*steps: int) -> list[Metrics]:
    return [Metrics(step, step, -1, {"loss": float(step)}) for step in steps]


def steps_of(run_dir: Path) -> list[int]:
    return [entry.record.step for entry in read_run(run_dir) if isinstance(entry.record, Metrics)]


def write_segment(run_dir: Path, data: bytes, number: int = 0) -> JournalReader:
    run_dir.mkdir(exist_ok=True)
    (run_dir / segment_name(number)).write_bytes(data)
    return JournalReader(run_dir)


@pytest.fixture(scope="module")
def journal() -> tuple[bytes, list[int]]:
    """A segment of 200 records in frames of 1 to 5, and where its frames begin."""
    dice = random.Random(1)
    data, starts, ordinal = b"", [], 0
    while ordinal < 200:
        count = min(dice.randint(1, 5), 200 - ordinal)
        starts.append(len(data))
        data += encode_frame(metrics(*range(ordinal, ordinal + count)), ordinal)
        ordinal += count
    return data, [*starts, len(data)]


def whole_before(data: bytes, starts: list[int], place: int) -> int:
    """Number of records in the frames that end at or before ``place``."""
    ends = [start for start in starts if start <= place]
    frame = decode_frame(data, ends[-2]) if len(ends) > 1 else None
    return frame.ordinal + len(frame.records) if frame is not None else 0  # type: ignore[union-attr]


def test_a_journal_cut_at_any_byte_gives_every_whole_record_before_the_cut(tmp_path, journal):
    data, starts = journal
    path = tmp_path / segment_name(0)
    path.write_bytes(data)
    for cut in range(len(data), -1, -1):
        os.truncate(path, cut)
        reader = JournalReader(tmp_path)
        read = [entry.ordinal for entry in reader.poll()]
        assert read == list(range(whole_before(data, starts, cut)))
        frame_start = max(start for start in starts if start <= cut)
        assert reader.damage == []
        assert (reader.tail is None) == (cut == frame_start)
        if reader.tail is not None:
            assert (reader.tail.offset, reader.tail.torn) == (frame_start, True)


def test_a_flipped_byte_anywhere_costs_nothing_before_it_and_is_reported_with_its_frame(tmp_path, journal):
    data, starts = journal
    path = tmp_path / segment_name(0)
    path.write_bytes(data)
    with path.open("r+b") as file:
        for place in range(len(data)):
            os.pwrite(file.fileno(), bytes([data[place] ^ 0xFF]), place)
            reader = JournalReader(tmp_path)
            read = [entry.ordinal for entry in reader.poll()]
            os.pwrite(file.fileno(), data[place : place + 1], place)
            frame_start = max(start for start in starts if start <= place)
            assert read == list(range(whole_before(data, starts, frame_start)))
            found = reader.damage[0] if reader.damage else reader.tail
            assert found is not None and found.offset == frame_start
            last = frame_start == starts[-2]
            assert last or not found.torn, "records behind the damage are lost, so it is more than a torn frame"


@given(st.binary(max_size=2000), st.booleans())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_random_bytes_never_raise_and_never_give_a_record(tmp_path, data, as_frame):
    start = encode_frame(metrics(0), 0)[:4] if as_frame else b""
    reader = write_segment(tmp_path, start + data)
    assert list(reader.poll()) == []
    assert list(reader.poll()) == []


def test_damage_ends_its_segment_only(tmp_path):
    write_segment(tmp_path, encode_frame(metrics(0), 0) + b"rubbish" + encode_frame(metrics(1), 1))
    reader = write_segment(tmp_path, encode_frame(metrics(2), 2), number=1)
    assert [entry.ordinal for entry in reader.poll()] == [0, 2]
    assert [(d.segment, d.offset) for d in reader.damage] == [(0, len(encode_frame(metrics(0), 0)))]


def test_a_reader_goes_on_where_it_was_while_the_journal_is_written(start_attempt, tmp_path):
    writer = start_attempt()
    reader = JournalReader(tmp_path / "run-a")
    assert [entry.ordinal for entry in reader.poll()] == [0]
    assert list(reader.poll()) == []
    writer.append(metrics(1, 2))
    assert [entry.ordinal for entry in reader.poll()] == [1, 2]
    again = JournalReader(tmp_path / "run-a", reader.position)
    writer.append(metrics(3))
    assert [entry.ordinal for entry in again.poll()] == [3]


def test_a_frame_that_arrives_in_pieces_is_read_when_it_is_whole(tmp_path):
    frame = encode_frame(metrics(*range(50)), 0)
    reader = write_segment(tmp_path, b"")
    with (tmp_path / segment_name(0)).open("ab", buffering=0) as file:
        for place in range(0, len(frame) - 1, 7):
            file.write(frame[place : min(place + 7, len(frame) - 1)])
            assert list(reader.poll()) == []
        assert reader.damage == []
        file.write(frame[-1:])
    assert len(list(reader.poll())) == 50
    assert reader.tail is None


def test_reading_in_one_thread_while_another_writes_gives_every_record_once_in_order(start_attempt, tmp_path):
    writer = start_attempt(segment_bytes=2000)

    def write() -> None:
        for step in range(300):
            writer.append(metrics(step))
        writer.append([End("FINISHED", 0)])

    thread = threading.Thread(target=write)
    thread.start()
    reader, seen = JournalReader(tmp_path / "run-a"), []
    while not seen or not isinstance(seen[-1].record, End):
        seen += reader.poll()
    thread.join()
    assert [entry.ordinal for entry in seen] == list(range(len(seen)))
    assert [e.record.step for e in seen if isinstance(e.record, Metrics)] == list(range(300))
    assert len(segments(tmp_path / "run-a")) > 3


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_files_are_private_whatever_the_umask(start_attempt, tmp_path, umask):
    before = os.umask(umask)
    try:
        start_attempt().close()
        save_cursor(tmp_path / "run-a", 0, Cursor(backend="x"))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run-a").rglob("*")}
    assert modes.pop("cursors") == 0o700 == (tmp_path / "run-a").stat().st_mode & 0o777
    assert set(modes) == {"run.msgpack", "journal-00000.rlj", "0-x.json"}
    assert set(modes.values()) == {0o600}


def test_a_new_attempt_opens_a_new_segment_and_goes_on_counting(start_attempt, tmp_path):
    first = start_attempt()
    first.append(metrics(0, 1))
    first.close()
    second = start_attempt(attempt=1)
    second.append(metrics(2))
    entries = read_run(tmp_path / "run-a")
    assert [(entry.ordinal, entry.segment) for entry in entries] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]
    assert [(h.segment, h.ordinal, h.attempt.attempt) for h in read_heads(tmp_path / "run-a")] == [(0, 0, 0), (1, 3, 1)]


def test_a_full_segment_is_followed_by_one_that_repeats_its_attempt(start_attempt, tmp_path):
    writer = start_attempt(segment_bytes=500)
    for step in range(30):
        writer.append(metrics(step))
    heads = [next(JournalReader(tmp_path / "run-a").poll()).record]
    heads += [head.attempt for head in read_heads(tmp_path / "run-a")]
    assert len(heads) > 3 and all(isinstance(head, Attempt) and head == heads[0] for head in heads)
    assert steps_of(tmp_path / "run-a") == list(range(30))


def test_ordinals_are_not_used_again_for_records_that_damage_hides(start_attempt, tmp_path):
    writer = start_attempt()
    writer.append(metrics(0))
    place = (tmp_path / "run-a" / segment_name(0)).stat().st_size
    writer.append(metrics(1, 2, 3))
    writer.close()
    with (tmp_path / "run-a" / segment_name(0)).open("r+b") as file:
        file.seek(place + 30)
        file.write(b"\xff\xff")
    assert start_attempt(attempt=1).ordinal > 5


def test_ordinals_are_not_used_again_for_records_that_were_delivered_and_then_lost_by_the_disk(start_attempt, tmp_path):
    start_attempt().close()
    save_cursor(tmp_path / "run-a", 0, Cursor(backend="x", next_ordinal=50))
    assert start_attempt(attempt=1).ordinal == 51


def test_after_a_torn_frame_counting_goes_on_without_a_gap(start_attempt, tmp_path):
    writer = start_attempt()
    writer.append(metrics(0))
    writer.close()
    with (tmp_path / "run-a" / segment_name(0)).open("ab") as file:
        file.write(encode_frame(metrics(1), 2)[:-3])
    start_attempt(attempt=1).append(metrics(1))
    reader = JournalReader(tmp_path / "run-a")
    assert [entry.ordinal for entry in reader.poll()] == [0, 1, 2, 3]
    assert [damage.torn for damage in reader.damage] == [True]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_append_that_fails_half_way_leaves_no_half_frame_and_can_be_repeated(
    start_attempt, tmp_path, monkeypatch, error
):
    writer = start_attempt()
    writer.append(metrics(0))
    calls = []

    def short_then_full(fd: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(error, os.strerror(error))
        return real_write(fd, data[:10])

    real_write = os.write
    monkeypatch.setattr(os, "write", short_then_full)
    with pytest.raises(OSError, match=os.strerror(error)):
        writer.append(metrics(1))
    monkeypatch.undo()
    assert calls and steps_of(tmp_path / "run-a") == [0]
    writer.append(metrics(1))
    writer.append(metrics(2))
    reader = JournalReader(tmp_path / "run-a")
    assert [entry.ordinal for entry in reader.poll()] == [0, 1, 2, 3]
    assert reader.damage == [] and reader.tail is None


def test_when_even_the_repair_fails_the_next_append_goes_to_a_new_segment(start_attempt, tmp_path, monkeypatch):
    writer = start_attempt()
    writer.append(metrics(0))
    real_write = os.write

    def broken(fd: int, data: memoryview) -> int:
        if len(data) > 10:
            return real_write(fd, data[:10])
        raise OSError(errno.EIO, "broken")

    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "write", lambda fd, data: broken(fd, data[:11]) if len(data) > 11 else broken(fd, data[:5]))
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError, match="broken"):
        for step in (1, 2):
            writer.append(metrics(step))
    assert writer.taken == 2, "what can neither be written nor taken back is kept in memory"
    monkeypatch.undo()
    writer.append(metrics(2))
    assert steps_of(tmp_path / "run-a") == [0, 1, 2]
    assert len(segments(tmp_path / "run-a")) == 2


def test_a_file_size_limit_is_survived(tmp_path):
    code = f"""
import resource, signal, socket, os
from pathlib import Path
from ranklog.journal.reader import JournalReader
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, Metrics
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
run_dir = Path({str(tmp_path / "run")!r})
writer = JournalWriter(run_dir, Attempt(PROTOCOL, "run", 0, Place(), "h", 1, 0, ()))
kept = 0
try:
    for step in range(1000):
        writer.append([Metrics(step, 0, -1, {{"loss": 1.0}})])
        kept += 1
except OSError as error:
    print(type(error).__name__)
reader = JournalReader(run_dir)
print(kept == len(list(reader.poll())) - 1, reader.damage, reader.tail)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["OSError", "True [] None"]


def test_a_directory_without_segments_has_no_entries(tmp_path):
    assert read_run(tmp_path) == [] and read_run(tmp_path / "nowhere") == []
    assert read_heads(tmp_path) == []


BAD = {
    "a lone surrogate": Metrics(1, 0, -1, {"\ud800": 1.0}),
    "an int beyond 64 bits": Metrics(1 << 70, 0, -1, {}),
    "a type that no record has": Metrics(1, 0, -1, {"loss": object()}),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_record_that_cannot_be_encoded_raises_before_anything_of_its_frame_is_written(start_attempt, tmp_path, bad):
    writer = start_attempt()
    frame = metrics(*range(FRAME_RECORDS))
    with pytest.raises(ValueError, match="a record cannot be encoded"):
        writer.append([*frame, *metrics(7, 8), bad, *metrics(9)])
    assert writer.taken == FRAME_RECORDS
    assert steps_of(tmp_path / "run-a") == list(range(FRAME_RECORDS))
    writer.append(metrics(7, 8, 9))
    entries = read_run(tmp_path / "run-a")
    assert [entry.ordinal for entry in entries] == list(range(FRAME_RECORDS + 4))
    assert writer.taken == FRAME_RECORDS + 3


def blob(name: str, size: int) -> Item:
    return Item("artifact", name, 0, 0, -1, 0, "x", (File(name, size, "0" * 64, b"x" * size),))


def test_frames_are_bounded_by_bytes_so_that_many_large_records_fit_and_one_beyond_the_limit_does_not(
    start_attempt, tmp_path, monkeypatch
):
    monkeypatch.setattr(frame_module, "MAX_PAYLOAD_BYTES", 5 * 1024 * 1024)
    writer = start_attempt()
    writer.append([blob(str(index), 32 * 1024) for index in range(400)])  # 12.5 MiB
    frame = decode_frame((tmp_path / "run-a" / segment_name(0)).read_bytes(), len(encode_frame([writer.attempt], 0)))
    assert isinstance(frame, Frame) and 1 < len(frame.records) < 400 and frame.size <= FRAME_BYTES + 100
    writer.append([blob("above a frame's bytes", FRAME_BYTES + 1), *metrics(0)])
    with pytest.raises(ValueError, match="at most"):
        writer.append([*metrics(1), blob("above the limit", 6 * 1024 * 1024)])
    reader = JournalReader(tmp_path / "run-a")
    assert len(list(reader.poll())) == 1 + 400 + 2 + 1 and reader.damage == []
    assert writer.taken == 403


@pytest.mark.parametrize(
    "instead",
    [metrics(*range(2, 50)), metrics(*range(100, 150)), metrics(100)],
    ids=["the same records and more", "other records", "fewer records"],
)
def test_a_reader_inside_a_frame_that_the_writer_removes_reads_its_replacement(tmp_path, instead):
    first = encode_frame(metrics(0, 1), 0)
    taken_back = encode_frame(metrics(*range(2, 40)), 2)
    reader = write_segment(tmp_path, first + taken_back[: len(taken_back) // 2])
    polled = reader.poll()
    assert next(polled).ordinal == 0  # has read all the bytes there are
    path = tmp_path / segment_name(0)
    os.truncate(path, len(first))
    with path.open("ab") as file:
        file.write(encode_frame(instead, 2))
    assert [entry.record for entry in polled] == [*metrics(1), *instead]
    assert (reader.damage, reader.tail) == ([], None)


def test_a_frame_that_was_replaced_while_it_was_read_is_read_once_more_before_it_counts_as_damage(
    tmp_path, monkeypatch
):
    reader = write_segment(tmp_path, encode_frame(metrics(0), 0))
    answers = [FrameDamage("half of one frame, half of another")]
    monkeypatch.setattr(reader_module, "decode_frame", lambda *args: answers.pop() if answers else decode_frame(*args))
    assert [entry.ordinal for entry in reader.poll()] == [0]
    assert reader.damage == []


def test_when_the_old_segment_cannot_be_synced_the_new_one_repeats_what_was_not(start_attempt, tmp_path, monkeypatch):
    writer = start_attempt(segment_bytes=1)
    writer._segment_bytes = 1 << 20
    writer.append(metrics(0, 1))
    before = len(list(Path("/proc/self/fd").iterdir()))
    refusals = [OSError(errno.EIO, "broken")]

    def refuse_once(fd: int) -> None:
        if refusals:
            raise refusals.pop()

    monkeypatch.setattr(os, "fdatasync", refuse_once)
    writer._segment_bytes = 1
    writer.append(metrics(2))
    monkeypatch.undo()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    entries = read_run(tmp_path / "run-a")
    assert [(entry.ordinal, entry.segment) for entry in entries] == [(0, 0), (1, 0), (2, 0), (3, 1)]
    os.truncate(tmp_path / "run-a" / segment_name(0), len(encode_frame([writer.attempt], 0)))
    assert steps_of(tmp_path / "run-a") == [0, 1, 2], "also where the old segment has lost it"


def test_starting_another_attempt_reads_the_last_segment_only(start_attempt, tmp_path, monkeypatch):
    writer = start_attempt(segment_bytes=300)
    for step in range(20):
        writer.append(metrics(step))
    writer.close()
    last = writer._segment
    starts = []
    init = JournalReader.__init__

    def watch(self, run_dir, start=None):
        starts.append(start.segment if start else -1)
        init(self, run_dir, start)

    monkeypatch.setattr(JournalReader, "__init__", watch)
    assert start_attempt(attempt=1).ordinal == writer.ordinal + 1
    assert starts == [last]


def test_last_end_is_that_of_the_last_attempt(start_attempt, tmp_path):
    assert last_end(tmp_path / "run-a") is None
    start_attempt().append([*metrics(0), End("FAILED", 0)])
    assert last_end(tmp_path / "run-a") == End("FAILED", 0)
    start_attempt(attempt=1)
    assert last_end(tmp_path / "run-a") is None


def repeated(run_dir: Path, attempt: Attempt) -> None:
    """A segment that ends in zeros, and the next one, which repeats what was not synced and goes on."""
    head = encode_frame([attempt], 0)
    frames = [encode_frame(metrics(step), step) for step in range(1, 6)]
    write_segment(run_dir, head + b"".join(frames[:3]) + bytes(200))
    write_segment(run_dir, head + b"".join(frames[1:]), number=1)


def test_a_segment_that_repeats_the_end_of_the_one_before_gives_each_record_once(start_attempt, tmp_path):
    attempt = start_attempt().attempt
    repeated(tmp_path / "run-a", attempt)
    reader = JournalReader(tmp_path / "run-a")
    assert [entry.ordinal for entry in reader.poll()] == list(range(6))
    assert [damage.torn for damage in reader.damage] == [True], "what it hides stands in the next segment"
    again = JournalReader(tmp_path / "run-a", reader.position)
    assert list(again.poll()) == []
    heads = read_heads(tmp_path / "run-a")
    for ordinal in range(6):
        head = head_before(heads, ordinal)
        assert head is not None
        read = [entry.ordinal for entry in JournalReader(tmp_path / "run-a", head.position).poll()]
        assert [each for each in read if each >= ordinal] == list(range(ordinal, 6)), "from wherever a backend goes on"


def test_a_repeat_that_lacks_something_leaves_the_damage_what_it_is(start_attempt, tmp_path):
    attempt = start_attempt().attempt
    repeated(tmp_path / "run-a", attempt)
    write_segment(tmp_path / "run-a", encode_frame([attempt], 0) + encode_frame(metrics(5), 5), number=1)
    reader = JournalReader(tmp_path / "run-a")
    assert [entry.ordinal for entry in reader.poll()] == [0, 1, 2, 3, 5]
    assert [damage.torn for damage in reader.damage] == [False]


def test_a_repeat_that_a_kill_left_unfinished_hides_neither_the_end_nor_an_ordinal(start_attempt, tmp_path):
    writer = start_attempt()
    writer.append([*metrics(1, 2, 3), End("FINISHED", 0)])
    writer.close()
    head = encode_frame([writer.attempt], 0)
    write_segment(tmp_path / "run-a", head + encode_frame(metrics(1, 2), 1)[:-3], number=1)
    assert last_end(tmp_path / "run-a") == End("FINISHED", 0)
    assert start_attempt(attempt=1).ordinal == 6
    assert steps_of(tmp_path / "run-a") == [1, 2, 3]


def test_a_reader_goes_back_when_the_writer_removed_an_unconfirmed_segment(start_attempt, tmp_path):
    writer = start_attempt()
    writer.append(metrics(1, 2))
    reader = JournalReader(tmp_path / "run-a")
    assert [entry.ordinal for entry in reader.poll()] == [0, 1, 2]
    head = encode_frame([writer.attempt], 0)
    write_segment(tmp_path / "run-a", head + encode_frame(metrics(1, 2), 1), number=1)
    assert list(reader.poll()) == []
    (tmp_path / "run-a" / segment_name(1)).unlink()
    writer.append(metrics(3))
    assert [entry.ordinal for entry in reader.poll()] == [3]
    assert list(reader.poll()) == []


def test_records_of_two_writers_under_one_ordinal_are_both_read(start_attempt, tmp_path):
    """As where O_EXCL does not work: nothing is passed over that is not a repeat."""
    attempt = start_attempt().attempt
    write_segment(tmp_path / "run-a", encode_frame([attempt], 0) + encode_frame(metrics(1), 1))
    other = msgspec.structs.replace(attempt, pid=attempt.pid + 1)
    reader = write_segment(tmp_path / "run-a", encode_frame([other], 0) + encode_frame(metrics(7), 1), number=1)
    assert [entry.ordinal for entry in reader.poll()] == [0, 1, 0, 1]


@pytest.mark.parametrize("call", ["sync", "append", "touch"])
def test_nothing_opens_the_journal_again_once_it_is_closed(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(number: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    more = [Metrics(1, 0, 1, {"a": 1.0})]
    writer = JournalWriter(tmp_path, Attempt(PROTOCOL, "run", 0, Place(), "h", 1, 0, ()))
    writer.append([Metrics(0, 0, 1, {"a": 1.0})])
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="Input/output"):
            writer.close()
    before = sorted(path.name for path in tmp_path.iterdir())
    calls = {"sync": writer.sync, "append": lambda: writer.append(more), "touch": writer.touch}
    with pytest.raises(OSError, match="closed"):
        calls[call]()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    writer.close()
