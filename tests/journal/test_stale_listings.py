"""A directory listing or a file size that lags, as a network file system caches them, loses and repeats no record."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ranklog.job.runs import claim_run
from ranklog.journal.heads import Position, read_heads
from ranklog.journal.layout import segment_name, segments
from ranklog.journal.reader import JournalReader, read_run
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import End, Metrics
from ranklog.view.verify import verify_run


def metrics(*steps: int) -> list[Metrics]:
    return [Metrics(step, step, -1, {"loss": float(step)}) for step in steps]


def steps_of(entries) -> list[int]:
    return [entry.record.step for entry in entries if isinstance(entry.record, Metrics)]


class CachedListing:
    """What a second node knows of a directory: the names of an earlier moment.

    As a network client does, it asks the server for a name that a program opens or creates. Where ``names_too``, it
    has also remembered that later names are not there; an exclusive creation that fails corrects this.
    """

    def __init__(self, directory: Path, *, names_too: bool = False) -> None:
        self.directory = directory
        self.listed = {path.name for path in directory.iterdir()}
        self.hidden = {segment_name(n) for n in range(10)} - self.listed if names_too else set()
        self._listdir, self._stat, self._open = os.listdir, os.stat, os.open

    def listdir(self, path="."):
        return sorted(self.listed) if Path(path) == self.directory else self._listdir(path)

    def stat(self, path, **more):
        if not isinstance(path, int) and Path(path).name in self.hidden:
            raise FileNotFoundError(errno.ENOENT, "not in the cache", str(path))
        return self._stat(path, **more)

    def open(self, path, flags, *more, **other):
        try:
            fd = self._open(path, flags, *more, **other)
        finally:
            self.hidden.discard(Path(path).name)
        if flags & os.O_CREAT and Path(path).parent == self.directory:
            self.listed.add(Path(path).name)
        return fd


@pytest.fixture
def become(monkeypatch) -> Callable[[CachedListing], None]:
    """Makes this process see a directory as a node does that cached its listing."""

    def become(cached: CachedListing) -> None:
        monkeypatch.setattr(os, "listdir", cached.listdir)
        monkeypatch.setattr(os, "stat", cached.stat)
        monkeypatch.setattr(os, "open", cached.open)

    return become


def open_attempt(run_dir: Path) -> JournalWriter:
    attempt = claim_run(run_dir, experiment="digits", resume="allow", place=Place(), specs=())
    return JournalWriter(run_dir, attempt)


@pytest.mark.parametrize("names_too", [False, True], ids=["stale listing", "stale listing and names"])
@pytest.mark.parametrize("hidden", [1, 3])
def test_an_attempt_goes_on_with_ordinals_and_numbers_that_its_listing_hides(
    start_attempt, become, monkeypatch, tmp_path, hidden, names_too
):
    run_dir = tmp_path / "run-a"
    start_attempt().append(metrics(0, 1))
    cached = CachedListing(run_dir, names_too=names_too)
    for number in range(1, hidden + 1):
        start_attempt(attempt=number).append(metrics(2 * number, 2 * number + 1))
    become(cached)
    writer = open_attempt(run_dir)
    writer.append(metrics(100))
    writer.close()
    monkeypatch.undo()
    heads = [(head.segment, head.ordinal, head.attempt.attempt) for head in read_heads(run_dir)]
    assert heads == [(n, 3 * n, n) for n in range(hidden + 2)]
    assert writer.attempt.attempt == hidden + 1
    assert [entry.ordinal for entry in read_run(run_dir)] == list(range(3 * hidden + 5))
    assert verify_run(run_dir).problems == []


def test_a_run_whose_every_segment_is_hidden_goes_on_as_well(start_attempt, become, monkeypatch, tmp_path):
    run_dir = tmp_path / "run-a"
    start_attempt().discard()
    cached = CachedListing(run_dir)
    start_attempt().append(metrics(0))
    become(cached)
    open_attempt(run_dir).close()
    monkeypatch.undo()
    assert [(head.ordinal, head.attempt.attempt) for head in read_heads(run_dir)] == [(0, 0), (2, 1)]


def test_a_listing_that_catches_up_between_claim_and_opening_gives_a_new_number(start_attempt, tmp_path):
    run_dir = tmp_path / "run-a"
    start_attempt().append(metrics(0))
    attempt = claim_run(run_dir, experiment="digits", resume="allow", place=Place(), specs=())
    start_attempt(attempt=1).append(metrics(1))
    JournalWriter(run_dir, attempt).close()
    assert [(head.ordinal, head.attempt.attempt) for head in read_heads(run_dir)] == [(0, 0), (2, 1), (4, 2)]


def test_a_reader_finds_segments_that_its_listing_hides(start_attempt, become, tmp_path):
    run_dir = tmp_path / "run-a"
    start_attempt().append(metrics(0))
    cached = CachedListing(run_dir)
    for number in (1, 2):
        start_attempt(attempt=number).append(metrics(number))
    become(cached)
    assert steps_of(JournalReader(run_dir).poll()) == [0, 1, 2]
    assert [head.attempt.attempt for head in read_heads(run_dir)] == [0, 1, 2]


@pytest.fixture
def late_end(start_attempt, tmp_path) -> Callable[[], None]:
    """A run of two attempts whose first segment still lacks its last two frames; the call brings them."""
    run_dir = tmp_path / "run-a"
    first = start_attempt()
    first.append(metrics(0))
    (_, path) = segments(run_dir)[0]
    short = path.stat().st_size
    first.append(metrics(1))
    first.append(metrics(2))
    first.close()
    start_attempt(attempt=1).append([*metrics(3), End("FINISHED", 0)])
    whole = path.read_bytes()
    path.write_bytes(whole[:short])

    def arrive() -> None:
        path.write_bytes(whole)

    return arrive


@pytest.mark.parametrize("torn", [0, 5])
def test_a_patient_reader_waits_for_the_end_of_a_segment_when_it_sees_the_next_one(late_end, tmp_path, torn):
    run_dir = tmp_path / "run-a"
    path = run_dir / segment_name(0)
    short = path.stat().st_size
    late_end()
    os.truncate(path, short + torn)
    reader = JournalReader(run_dir, patience_s=60, clock=lambda: 0.0)
    assert steps_of(reader.poll()) == [0]
    assert steps_of(reader.poll()) == []
    assert (reader.awaits_segment, reader.damage) == (0, [])
    late_end()
    assert steps_of(reader.poll()) == [1, 2, 3]
    assert (reader.awaits_segment, reader.damage) == (None, [])


def test_a_reader_that_has_waited_long_enough_goes_on_and_says_which_records_are_missing(late_end, tmp_path):
    now = [0.0]
    reader = JournalReader(tmp_path / "run-a", patience_s=60, clock=lambda: now[0])
    assert steps_of(reader.poll()) == [0]
    now[0] = 61
    assert steps_of(reader.poll()) == [3]
    (damage,) = reader.damage
    assert (damage.segment, damage.torn) == (0, False)
    assert damage.reason == "records 2 to 3 are missing at its end"
    assert reader.awaits_segment is None


def test_a_reader_without_patience_says_at_once_which_records_are_missing(late_end, tmp_path):
    reader = JournalReader(tmp_path / "run-a")
    assert steps_of(reader.poll()) == [0, 3]
    assert [damage.reason for damage in reader.damage] == ["records 2 to 3 are missing at its end"]
    report = verify_run(tmp_path / "run-a")
    assert [problem.text for problem in report.problems] == ["records 2 to 3 are missing at its end"]


def test_a_reader_stays_before_a_segment_that_is_still_empty(start_attempt, tmp_path):
    run_dir = tmp_path / "run-a"
    start_attempt().append(metrics(0))
    (run_dir / segment_name(1)).touch()
    reader = JournalReader(run_dir, patience_s=60)
    assert steps_of(reader.poll()) == [0]
    assert reader.position.segment == 0
    assert reader.damage == []


def test_a_reader_that_starts_behind_the_gap_does_not_wait(late_end, tmp_path):
    reader = JournalReader(tmp_path / "run-a", Position(1, 0), patience_s=60)
    assert steps_of(reader.poll()) == [3]
