"""Whichever call on the journal fails, synced records are read once, and no file of the program is touched."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_disk import CALLS, Fate, FaultyDisk
from hypothesis import given, settings
from hypothesis import strategies as st

from ranklog.journal.descriptor import Descriptor
from ranklog.journal.layout import segments, write_private
from ranklog.journal.reader import JournalReader, read_run
from ranklog.journal.spill_file import SpillWriter, read_spill, spill_files
from ranklog.journal.store import read_file, store_bytes, store_file
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, Metrics
from ranklog.pipeline.recorder import DiskCalls, Recorder
from ranklog.process.warnings import Health

ATTEMPT = Attempt(PROTOCOL, "run", 0, Place(), "host", 1, 0, ())
LIMIT_BYTES = 64 * 1024 * 1024
FATES: tuple[Fate, ...] = ("good", "fails", "loses", "short", "late")

Op = tuple[str, int]
OPS: st.SearchStrategy[Op] = st.tuples(
    st.sampled_from(["append", "append", "append", "sync", "own"]), st.integers(1, 3)
)


class Script:
    """Fates of calls: drawn ones first; then, while an outage lasts, those calls fail; then all is good."""

    def __init__(self, fates: list[Fate], outage: frozenset[str] = frozenset()) -> None:
        self.fates = list(fates)
        self.outage = outage

    def __call__(self, name: str) -> Fate:
        if name in self.outage:
            return "loses"
        return self.fates.pop() if self.fates else "good"

    def calm(self) -> None:
        """From now on nothing fails."""
        self.fates, self.outage = [], frozenset()


def steps(records: list[object]) -> list[int]:
    return [record.step for record in records if isinstance(record, Metrics)]


class Journal:
    """A recorder on a faulty disk, with a reader beside it as the forwarder is."""

    def __init__(self, folder: Path, script: Script) -> None:
        (folder / "own").mkdir()
        self.run_dir = folder / "run"
        self.disk = FaultyDisk(self.run_dir, folder / "own", script)
        with self.disk.mounted():
            self.recorder = Recorder(
                self.run_dir, ATTEMPT, wake=lambda: None, health=Health(), limit_bytes=LIMIT_BYTES, disk=DiskCalls()
            )
        self.recorder._writer._segment_bytes = 400
        self.reader = JournalReader(self.run_dir)
        self.seen: list[object] = []
        self.logged = 0
        self.acknowledged = 0

    def do(self, op: str, count: int) -> None:
        if op == "append":
            self.recorder.write([Metrics(self.logged + n, 0, -1, {"loss": 0.5}) for n in range(count)])
            self.logged += count
        elif op == "sync":
            if self.recorder.sync():
                self.acknowledged = self.logged
        else:
            self.disk.open_own()
        self.seen += [entry.record for entry in self.reader.poll()]

    def assert_each_ordinal_stands_for_one_record(self) -> None:
        ordinals = [entry.ordinal for entry in read_run(self.run_dir)]
        assert ordinals == sorted(set(ordinals))


def play(folder: Path, script: Script, ops: list[Op]) -> Journal:
    journal = Journal(folder, Script([]))
    journal.disk.fate = script
    with journal.disk.mounted():
        for op, count in ops:
            journal.do(op, count)
    return journal


def in_folder(check: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(Path(folder))


@given(
    fates=st.lists(st.sampled_from(FATES), max_size=30),
    ops=st.lists(OPS, min_size=1, max_size=25),
    outage=st.sets(st.sampled_from(CALLS)),
)
@settings(max_examples=150, deadline=None)
def test_once_the_disk_works_everything_is_there_once_and_in_order(fates, ops, outage) -> None:
    def check(folder: Path) -> None:
        script = Script(fates, frozenset(outage))
        journal = play(folder, script, ops)
        script.calm()
        with journal.disk.mounted():
            journal.do("append", 1)
            journal.do("sync", 1)
            assert journal.acknowledged == journal.logged or journal.recorder.sync(), "the journal has recovered"
            journal.recorder.close()
        journal.disk.lose()
        found = JournalReader(journal.run_dir)
        records = [entry.record for entry in found.poll()]
        assert steps(records) == list(range(journal.logged))
        assert all(damage.torn for damage in found.damage), "damage that hides nothing is a remark"
        journal.assert_each_ordinal_stands_for_one_record()
        journal.seen += [entry.record for entry in journal.reader.poll()]
        assert steps(journal.seen) == list(range(journal.logged)), "also for who reads along"
        assert (journal.recorder.lost, journal.recorder._writer.unconfirmed) == (0, 0)
        journal.disk.check_own()

    in_folder(check)


@given(
    fates=st.lists(st.sampled_from(FATES), max_size=40),
    ops=st.lists(OPS, min_size=1, max_size=25),
    outage=st.sets(st.sampled_from(CALLS)),
)
@settings(max_examples=150, deadline=None)
def test_when_the_machine_crashes_in_the_middle_what_a_sync_acknowledged_is_there_once(fates, ops, outage) -> None:
    def check(folder: Path) -> None:
        journal = play(folder, Script(fates, frozenset(outage)), ops)
        journal.disk.lose()
        before = [entry.ordinal for entry in read_run(journal.run_dir)]
        assert steps([e.record for e in read_run(journal.run_dir)])[: journal.acknowledged] == list(
            range(journal.acknowledged)
        )
        second = JournalWriter(journal.run_dir, ATTEMPT)
        assert second.ordinal > max(before, default=-1), "no ordinal is given twice"
        second.append([Metrics(-1, 0, -1, {"loss": 0.5})])
        second.close()
        journal.assert_each_ordinal_stands_for_one_record()
        journal.disk.check_own()

    in_folder(check)


@given(fates=st.lists(st.sampled_from(FATES), max_size=20), counts=st.lists(st.integers(0, 3), max_size=12))
@settings(max_examples=100, deadline=None)
def test_a_spill_file_has_each_packet_that_was_taken_once(fates, counts) -> None:
    def check(folder: Path) -> None:
        run_dir = folder / "run"
        (folder / "own").mkdir()
        run_dir.mkdir()
        script = Script([])
        disk = FaultyDisk(run_dir / "spill", folder / "own", script)
        with disk.mounted():
            writer = SpillWriter(run_dir, "abc", 1)
        script.fates = list(fates)
        taken: list[bytes] = []
        with disk.mounted():
            for number, count in enumerate(counts):
                packet = b"%d" % number * 50
                try:
                    if count == 0:
                        writer.sync()
                    else:
                        writer.append(packet)
                        taken.append(packet)
                except OSError:
                    pass
            script.calm()
            writer.end()
        disk.lose()
        (file,) = spill_files(run_dir)
        assert file.ended and read_spill(file.path) == taken
        disk.check_own()

    in_folder(check)


@given(fates=st.lists(st.sampled_from(FATES), max_size=12), size=st.sampled_from([10, 40_000]))
@settings(max_examples=100, deadline=None)
def test_a_file_that_is_written_as_a_whole_is_whole_or_not_there(fates, size) -> None:
    def check(folder: Path) -> None:
        run_dir = folder / "run"
        (folder / "own").mkdir()
        (run_dir / "blobs").mkdir(parents=True)
        (folder / "source").write_bytes(bytes(size))
        script = Script(list(fates))
        for below in (run_dir, run_dir / "blobs"):
            disk = FaultyDisk(below, folder / "own", script)
            with disk.mounted():
                for store in (
                    lambda: write_private(run_dir / "cursor.json", b"x" * size),
                    lambda: store_bytes(run_dir, "a", b"y" * size, inline=False),
                    lambda: store_file(run_dir, "b", folder / "source", inline=False),
                ):
                    try:
                        file = store()
                    except OSError:
                        continue
                    if file is None:
                        assert (run_dir / "cursor.json").read_bytes() == b"x" * size
                    else:
                        assert len(read_file(run_dir, file)) == size
            disk.check_own()

    in_folder(check)


def test_a_descriptor_that_fails_to_close_is_closed_for_good(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "own").mkdir()
    disk = FaultyDisk(tmp_path / "run", tmp_path / "own", lambda name: "fails" if name == "close" else "good")
    with disk.mounted():
        import os

        held = Descriptor(os.open(tmp_path / "run" / "file", os.O_CREAT | os.O_WRONLY))
        number = held.number
        with pytest.raises(OSError, match="close fails"):
            held.close()
        assert disk._files[0][0] == number, "the program has the number now"
        held.close()
        with pytest.raises(OSError, match="descriptor is closed"):
            held.write(b"x")
    disk.check_own()


def test_the_journal_of_an_outage_of_one_file_goes_on_in_the_next_segment(tmp_path: Path) -> None:
    script = Script([])
    journal = Journal(tmp_path, script)
    with journal.disk.mounted(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        journal.do("append", 3)
        script.outage = frozenset(("write", "ftruncate", "close"))
        journal.do("append", 2)
        script.calm()
        journal.do("append", 1)
        journal.do("sync", 1)
    assert journal.acknowledged == 6
    assert [number for number, _ in segments(journal.run_dir)] == [0, 1]
    assert steps([entry.record for entry in read_run(journal.run_dir)]) == list(range(6))
    journal.disk.check_own()


@pytest.mark.parametrize("unconfirmed", [0, 1])
def test_a_frame_that_is_whole_though_its_write_failed_and_cannot_be_taken_back_is_there_once(
    tmp_path: Path, unconfirmed: int
) -> None:
    script = Script([])
    journal = Journal(tmp_path, script)
    with journal.disk.mounted():
        journal.do("append", 1)
        if not unconfirmed:
            journal.do("sync", 1)
        script.fates = ["fails", "late"]  # from the end: the write has stored everything, the truncate fails
        journal.do("append", 1)
        script.calm()
        journal.do("append", 1)
        journal.do("sync", 1)
        journal.do("append", 1)
        journal.recorder.close()
    assert steps([entry.record for entry in read_run(journal.run_dir)]) == [0, 1, 2, 3]
    journal.assert_each_ordinal_stands_for_one_record()
    journal.disk.check_own()
