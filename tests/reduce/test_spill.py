"""Wherever the communicator breaks, merged spill files restore each value: once, and with all ranks."""

import itertools
import threading
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from ranks import Kept, log

from ranklog.abc import Floats, ReduceOp, World
from ranklog.model.errors import RanklogError, WorldError
from ranklog.model.losses import UNSENT
from ranklog.model.record import Coverage, Event, Metrics, Record
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.gathered import report_rows, take
from ranklog.reduce.round import Rounds
from ranklog.reduce.spill.format import SpillHead, SpillRows, unpack
from ranklog.reduce.spill.merge import Spills
from ranklog.world.fake import FakeWorld

LIMIT_S = 0.3


class Breaking:
    """A rank's world that breaks at its n-th call: before the call is made, or after it was made with the others."""

    def __init__(self, world: World, at: int, *, after: bool) -> None:
        self._world = world
        self._left = at
        self._after = after
        self.place = world.place

    def break_now(self) -> None:
        self._left = 0

    def _call(self, call: object) -> None:
        assert callable(call)
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._after):
            self._world.close()
            raise WorldError("broken before the call")
        self._result = call()
        if self._left == 0:
            self._world.close()
            raise WorldError("broken after the call")

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        self._call(lambda: self._world.all_reduce(values, op=op, timeout_s=timeout_s))
        return self._result  # type: ignore[no-any-return]

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        self._call(lambda: self._world.all_gather(data, timeout_s=timeout_s))
        return self._result  # type: ignore[no-any-return]

    def barrier(self, *, timeout_s: float) -> None:
        raise AssertionError("not used")

    def close(self) -> None:
        self._world.close()


class Job:
    """Ranks of which one's world breaks."""

    def __init__(self, size: int, rank: int, at: int, *, after: bool) -> None:
        self.size = size
        self.kept = [Kept() for _ in range(size)]
        self.journal: list[Record] = []
        self.buffers = [Buffer(each) for each in range(size)]
        worlds: list[World] = list(FakeWorld(size).ranks())
        self.breaking = worlds[rank] = Breaking(worlds[rank], at, after=after)
        self.rounds = [
            Rounds(worlds[each], self.buffers[each], run_id="run-a", store=self.kept[each]) for each in range(size)
        ]

    def step(self) -> None:
        out: list[list[Record]] = [[] for _ in range(self.size)]

        def one(rank: int) -> None:
            out[rank] = self.rounds[rank].step(LIMIT_S)

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.journal += out[0]
        assert not any(out[1:])

    def log(self, step: int) -> None:
        for rank, buffer in enumerate(self.buffers):
            log(buffer, step, loss=float(rank + step))
            log(buffer, step, op="median", middle=float(rank))
            if rank != 1:
                log(buffer, step, op="stats", some=float(rank))
            log(buffer, step, op="per_rank", own=float(step))
            buffer.close_all()

    def merged(self) -> list[Record]:
        for rounds in self.rounds:
            rounds.end()
        items = {rank: kept.items for rank, kept in enumerate(self.kept) if kept.items}
        return Spills(items, {rank for rank, kept in enumerate(self.kept) if kept.ended}).records(self.journal)

    def values(self, records: Sequence[Record], name: str) -> list[tuple[int, float, int]]:
        """Step, value and number of ranks behind it, for each record of a name."""
        return [
            (r.step, r.values[name], r.coverage.contributed if r.coverage else 1)
            for r in records
            if isinstance(r, Metrics) and name in r.values
        ]


def calls_of_two_rounds() -> int:
    """How many calls a rank's world has until it has talked about everything that is logged before the break."""
    return 14


@pytest.mark.parametrize("size", [2, 3])
def test_wherever_it_breaks_every_value_is_there_once_with_all_ranks(size: int) -> None:
    for rank, at, after in itertools.product(range(size), range(1, calls_of_two_rounds()), (False, True)):
        job = Job(size, rank, at, after=after)
        for step in range(3):
            job.log(step)
            job.step()
        case = f"rank {rank}, call {at}, {'after' if after else 'before'} it"
        if at == 1:
            continue  # the ranks never met: nobody knows where to keep anything
        job.step()
        job.step()
        job.log(3)
        job.step()
        assert any(rounds.failed for rounds in job.rounds), case
        everything = [*job.journal, *job.merged()]
        loss = {step: (value, ranks) for step, value, ranks in job.values(everything, "loss")}
        assert loss == {s: (s + (size - 1) / 2, size) for s in range(4)}, case
        middle = {step: value for step, value, _ in job.values(everything, "middle")}
        assert middle == pytest.approx(dict.fromkeys(range(4), (size - 1) / 2), abs=0.02), case
        some = {step: (value, ranks) for step, value, ranks in job.values(everything, "some/max")}
        assert some == dict.fromkeys(range(4), (float(size - 1 if size > 2 else 0), size - 1)), case
        for each in range(size):
            own = [(step, value) for step, value, _ in job.values(everything, f"own/rank_{each:03d}")]
            assert sorted(own) == [(s, float(s)) for s in range(4)], case
        assert all(rounds.lost == 0 for rounds in job.rounds), case


def test_a_value_that_the_journal_has_in_part_is_corrected_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(2, 1, 3, after=False)
    job.log(0)
    job.step()
    job.step()
    before = job.values(job.journal, "loss")
    assert before == [(0, 0.0, 1)]
    (corrected,) = [r for r in job.merged() if isinstance(r, Metrics) and "loss" in r.values]
    assert (corrected.values, corrected.corrects, str(corrected.coverage)) == ({"loss": 0.5}, True, "2/2")


@pytest.mark.parametrize("op", ["mean", "median"])
def test_what_rank_0_logs_too_late_is_merged_with_what_the_others_had_sent_in_time(op: str) -> None:
    job = Job(2, 1, 1_000_000, after=False)
    log(job.buffers[1], 0, op=op, loss=1.0)
    job.buffers[1].close_all()
    while not job.journal:  # until rank 0 is no longer waited for
        job.step()
    job.breaking.break_now()
    job.step()
    log(job.buffers[0], 0, op=op, loss=0.0)
    job.buffers[0].close_all()
    job.step()
    assert job.values(job.journal, "loss") == [(0, 1.0, 1), (0, 0.0, 1)]
    (corrected,) = [r for r in job.merged() if isinstance(r, Metrics) and "loss" in r.values]
    assert corrected.values["loss"] == pytest.approx(0.5, abs=0.01)
    assert (corrected.corrects, str(corrected.coverage)) == (True, "2/2")


def test_ranks_that_kept_nothing_count_as_missing() -> None:
    job = Job(3, 1, 3, after=False)
    job.log(0)
    job.step()
    job.step()
    job.kept[2] = Kept()
    merged = [r for r in job.merged() if isinstance(r, Metrics) and "loss" in r.values]
    assert [(r.values["loss"], r.coverage) for r in merged] == [(0.5, Coverage(2, 3, 2))]


def test_without_rank_0_what_the_others_kept_is_all_there_is() -> None:
    job = Job(3, 0, 3, after=False)
    job.log(0)
    job.step()
    job.step()
    job.kept[0], job.journal = Kept(), []
    merged = job.merged()
    assert job.values(merged, "loss") == [(0, 1.5, 2)]
    assert job.values(merged, "own/rank_002") == [(0, 0.0, 1)]


def test_values_that_cannot_be_kept_are_counted_and_rank_0_reports_the_cause() -> None:
    class Full(Kept):
        def write(self, rendezvous: str, packet: bytes) -> None:
            raise OSError("no space left")

    job = Job(2, 1, 3, after=False)
    for rounds, full in zip(job.rounds, (Full(), Full()), strict=True):
        rounds._spill._store = full
    job.log(0)
    job.step()
    job.step()
    assert job.rounds[1].lost == 3  # loss, middle and the record of own
    (event,) = [r for r in job.journal if isinstance(r, Event) and r.code == UNSENT]
    assert "no space left" in event.text


@pytest.mark.parametrize("packet", [b"", b"no zlib", zlib.compress(b"\xff\xff"), zlib.compress(np.zeros(9).tobytes())])
def test_bytes_that_are_not_a_packet_are_an_error(packet: bytes) -> None:
    with pytest.raises(RanklogError, match="cannot be read"):
        unpack(packet)


@pytest.mark.parametrize("op", ["mean", "median"])
def test_of_a_row_that_rank_0_reduced_in_part_only_the_other_names_are_merged(op: str) -> None:
    buffer = Buffer(1)
    log(buffer, 0, op=op, first=1.0, second=2.0, third=3.0)
    buffer.close_all()
    (row,) = report_rows(buffer.closed(1), 0.0)
    has = SpillRows(1, [take(row, [1])], written=True, answered=[0, 1])
    kept = SpillRows(1, [row], in_doubt=True)
    files = {0: [SpillHead(0, 2, "broken", 0, (0, 0)), has], 1: [SpillHead(1, 2, "broken", 0), kept]}
    journal = [Metrics(0, 0, -1, {"second": 2.0}, op, Coverage(2, 2, 1))]
    merged = [r for r in Spills(files, {0, 1}).records(journal) if isinstance(r, Metrics)]
    assert {name: value for r in merged for name, value in r.values.items()} == pytest.approx(
        {"first": 1.0, "third": 3.0}, rel=0.02
    )
