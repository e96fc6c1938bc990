"""Records on rank 0 after several ranks have logged: every case with 2, 3 and 4 ranks in threads."""

import math
import threading
import warnings
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from ranks import job, log, run_ranks, step_all

from ranklog.abc import Floats, ReduceOp, World
from ranklog.model.losses import UNSENT
from ranklog.model.place import Place
from ranklog.model.record import Coverage, Event, Metrics
from ranklog.reduce.buffer import Buffer, PerRank
from ranklog.reduce.handshake import Handshake
from ranklog.reduce.round import Rounds
from ranklog.world.fake import FakeWorld
from ranklog.world.single import SeveredWorld, SingleWorld

SIZES = [2, 3, 4]
sizes = pytest.mark.parametrize("size", SIZES)


@sizes
def test_equal_keys_come_out_with_every_reduction_right(size: int) -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(20):
            log(buffer, step, weight=rank + 1.0, mean=float(rank * step))
            log(buffer, step, op="sum", total=2.0**53 if rank == 0 else 2.0)
            log(buffer, step, op="min", low=float(rank))
            log(buffer, step, op="max", high=float(rank))
            log(buffer, step, op="std", spread=float(rank))
            log(buffer, step, op="stats", time=float(-rank))

    out = run_ranks(script, size)
    ranks = np.arange(size, dtype=float)
    weights = ranks + 1
    assert out.series("mean") == pytest.approx({s: np.average(ranks * s, weights=weights) for s in range(20)})
    assert out.series("total") == dict.fromkeys(range(20), 2.0**53 + 2 * (size - 1))
    assert set(out.series("low").values()) == {0.0}
    assert set(out.series("high").values()) == {size - 1.0}
    assert list(out.series("spread").values()) == pytest.approx([ranks.std()] * 20)
    stats = out.metrics("time/mean")[0].values
    assert stats["time/min"] == 1.0 - size
    assert (stats["time/min_rank"], stats["time/max_rank"], stats["time/count"]) == (size - 1.0, 0.0, float(size))
    assert set(out.coverage("mean").values()) == {(size, size)}
    assert len(out.records) == 6 * 20


@sizes
def test_the_spread_covers_samples_within_and_between_ranks(size: int) -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for sample in range(rank + 2):
            log(buffer, 0, op="std", weight=sample + 1.0, both=10.0 * rank + sample)
            log(buffer, 0, op="stats", plain=10.0 * rank + sample)

    out = run_ranks(script, size)
    values = np.array([10.0 * r + s for r in range(size) for s in range(r + 2)])
    weights = np.array([s + 1.0 for r in range(size) for s in range(r + 2)])
    assert out.series("both")[0] == pytest.approx(np.sqrt(np.cov(values, aweights=weights, bias=True)))
    stats = out.metrics("plain/std")[0].values
    assert (stats["plain/std"], stats["plain/mean"]) == pytest.approx((values.std(), values.mean()))
    assert (stats["plain/count"], stats["plain/max"]) == (float(len(values)), values.max())


def samples_of(rank: int, step: int) -> list[float]:
    """What a rank measures at a step: some values of one sign."""
    random = np.random.default_rng((rank, step))
    values: list[float] = (random.lognormal(0, 4, step + 1) * random.choice([-1, 1])).tolist()
    return values


@sizes
@pytest.mark.parametrize("same_keys", [True, False])
def test_quantiles_are_those_of_all_samples_of_all_ranks(size: int, same_keys: bool) -> None:
    def given(rank: int, step: int) -> list[float]:
        return [] if (rank, step) == (1, 3) and not same_keys else samples_of(rank, step)

    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(8):
            log(buffer, step, mean=1.0)
            for value in given(rank, step):
                log(buffer, step, op="median", weight=rank + 1.0, half=value, constant=7.0)
                log(buffer, step, op="p99", most=value)

    out = run_ranks(script, size)
    for step in range(8):
        values = sorted(value for rank in range(size) for value in given(rank, step))
        assert out.series("constant")[step] == 7.0
        for name, part in (("half", 0.5), ("most", 0.99)):
            exact = np.quantile(values, part)
            near = [np.quantile(values, part, method=end) for end in ("lower", "higher")]
            assert out.series(name)[step] == pytest.approx(exact, abs=0.0101 * max(map(abs, near)))
    expected = {step: (size, size - (step == 3 and not same_keys)) for step in range(8)}
    assert out.coverage("half") == out.coverage("most") == expected


@sizes
def test_quantiles_of_names_in_different_order_are_not_mixed(size: int) -> None:
    expected = {"a": 10.0, "b": 200.0, "c": -3.0}

    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(10):
            for name in expected if rank % 2 else reversed(expected):
                for nearby in (0.5, 1.0, 2.0):
                    log(buffer, step, op="median", **{name: expected[name] * nearby})

    out = run_ranks(script, size)
    for name, value in expected.items():
        assert out.series(name) == pytest.approx(dict.fromkeys(range(10), value), rel=0.01)


@sizes
def test_quantiles_do_not_depend_on_the_path_of_the_round(size: int) -> None:
    """The same samples with equal names everywhere, and with a name of one rank's own that has all rows gathered."""

    def job_of(extra: bool) -> dict[str, dict[int, float]]:
        def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
            for step in (4, 5, 6):
                for value in [*samples_of(rank, step), 0.0, 1e300, -1e-300, math.nan]:
                    log(buffer, step, op="median", half=value, small=value * 1e-300)
                    log(buffer, step, op="p99", most=-value)
                if rank == 0 and extra:
                    log(buffer, step, extra=1.0)

        out = run_ranks(script, size)
        return {name: out.series(name) for name in ("half", "small", "most")}

    assert job_of(extra=False) == job_of(extra=True)


def test_quantiles_of_many_names_travel_in_vectors_of_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklog.reduce.sketch.VECTOR_LIMIT", 10_000)
    buffers, rounds, worlds = watched_job(2)
    names = [f"name_{index}" for index in range(50)]
    for rank, buffer in enumerate(buffers):
        for value in (1e-20, 1.0, 1e20):
            log(buffer, 0, op="median", **{name: value * (index + rank) for index, name in enumerate(names)})
        buffer.close_all()
    (record,) = step_all(rounds)
    assert isinstance(record, Metrics)
    assert [record.values[name] for name in names[1:]] == pytest.approx([i + 0.5 for i in range(1, 50)], rel=0.01)
    lengths = [length for world in worlds for length in world.lengths]
    assert 5_000 < max(lengths) <= 10_000


def test_after_unreadable_bins_rank_0_continues_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklog.reduce.sketch.Bins.encode", lambda bins: b"short")
    buffers, rounds = job(2)
    for rank, buffer in enumerate(buffers):
        log(buffer, 0, op="median", **{"half": 1.0, f"only_{rank}": 1.0})
        buffer.close_all()
    records = step_all(rounds)
    assert "cannot read the values of half at step 0 that rank 0 sent" in str(rounds[0].failed)
    assert [r.values for r in records if isinstance(r, Metrics)] == [{"half": 1.0, "only_0": 1.0}]


@sizes
def test_one_step_is_one_record(size: int) -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        log(buffer, 7, to=2, loss=1.0)
        log(buffer, 7, to=2, acc=0.5)

    full = Coverage(size, size, size)
    assert run_ranks(script, size).records == [Metrics(7, 1007, 2, {"loss": 1.0, "acc": 0.5}, "mean", full)]


@sizes
def test_different_keys_come_out_each_from_its_ranks(size: int) -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(10):
            log(buffer, step, loss=float(rank))
            log(buffer, step, **{f"only_{rank}": float(step)})

    out = run_ranks(script, size)
    assert out.series("loss") == dict.fromkeys(range(10), (size - 1) / 2)
    assert set(out.coverage("loss").values()) == {(size, size)}
    for rank in range(size):
        assert out.series(f"only_{rank}") == {step: float(step) for step in range(10)}
        assert set(out.coverage(f"only_{rank}").values()) == {(size, 1)}


@sizes
def test_different_order_never_mixes_names(size: int) -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(10):
            names = ["a", "b", "c"]
            for name in names if rank % 2 else reversed(names):
                log(buffer, step, **{name: float(ord(name) + rank)})

    out = run_ranks(script, size)
    for name in "abc":
        assert out.series(name) == dict.fromkeys(range(10), ord(name) + (size - 1) / 2)
        assert set(out.coverage(name).values()) == {(size, size)}


@sizes
def test_uneven_numbers_of_steps_are_complete_once_the_short_ranks_close(size: int) -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(5 * (rank + 1)):
            log(buffer, step, loss=1.0)

    out = run_ranks(script, size)
    assert out.coverage("loss") == {step: (size, size - step // 5) for step in range(5 * size)}


@sizes
def test_only_the_last_rank_has_a_value_and_it_is_complete_while_all_go_on(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranklog.reduce.agree.GRACE_S", 0.05)
    buffers, rounds = job(size)
    log(buffers[-1], 0, loss=4.0)
    buffers[-1].close_all()
    records = []
    while not records:
        records = step_all(rounds)
    assert records == [Metrics(0, 1000, -1, {"loss": 4.0}, "mean", Coverage(size, size, 1))]


@sizes
def test_a_rank_that_logs_nothing_does_not_hold_others_up(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklog.reduce.agree.GRACE_S", 0.05)
    buffers, rounds = job(size)
    for rank in range(1, size):
        log(buffers[rank], 0, loss=float(rank))
        log(buffers[rank], 1, loss=float(rank))
    records = []
    while not records:
        records = step_all(rounds)
    (metrics,) = records
    assert isinstance(metrics, Metrics)
    assert metrics.coverage == Coverage(size, size, size - 1)


def test_an_open_step_waits_and_a_slow_rank_is_waited_for() -> None:
    buffers, rounds = job(2)
    log(buffers[0], 0, loss=1.0)
    log(buffers[1], 0, loss=3.0)
    log(buffers[0], 1, loss=1.0)
    assert step_all(rounds, 20) == []
    log(buffers[1], 1, loss=3.0)
    (metrics,) = step_all(rounds)
    assert isinstance(metrics, Metrics)
    assert (metrics.step, metrics.values) == (0, {"loss": 2.0})


def test_what_comes_late_makes_a_corrected_record() -> None:
    buffers, rounds = job(2)
    for rank in (0, 1):
        log(buffers[rank], 0, loss=1.0)
        log(buffers[rank], 1, op="stats", loss=1.0)
    assert len(step_all(rounds)) == 1
    buffers[0].close_all()
    records = []
    while not records:
        records = step_all(rounds, timeout_s=0.2)
    assert [r.coverage for r in records if isinstance(r, Metrics)] == [Coverage(1, 2, 1)]
    (silent,) = [r for r in records if isinstance(r, Event)]
    assert (silent.code, silent.rank) == ("rank_silent", 1)
    log(buffers[1], 1, op="stats", loss=3.0)
    buffers[1].close_all()
    records = []
    while not records:
        records = step_all(rounds)
    (late,) = records
    assert isinstance(late, Metrics)
    assert (late.corrects, late.coverage, late.step) == (True, Coverage(2, 2, 2), 1)
    assert (late.values["loss/max_rank"], late.values["loss/count"], late.values["loss/mean"]) == (1.0, 3.0, 5 / 3)


@pytest.mark.parametrize("op", ["median", "p99"])
def test_a_late_quantile_is_that_of_all_samples(op: str) -> None:
    values = [[1.0, 5.0, math.nan], [2.0, 3.0, 400.0], [-4.0, 6.0, 7.0]]
    buffers, rounds = job(3)
    for rank, buffer in enumerate(buffers):
        log(buffer, 0, loss=1.0)
        for value in values[rank] if rank != 1 else ():
            log(buffer, 1, op=op, a=1.0, q=value)
        buffer.close_all()
    assert len(step_all(rounds)) == 1
    records = []
    while not records:
        records = [r for r in step_all(rounds, timeout_s=0.2) if isinstance(r, Metrics)]
    without = np.quantile([*values[0][:2], *values[2]], 0.5 if op == "median" else 0.99)
    assert records[0].values == pytest.approx({"a": 1.0, "q": without}, rel=0.01)
    for value in values[1]:
        log(buffers[1], 1, op=op, q=value)
    buffers[1].close_all()
    records = []
    while not records:
        records = [r for r in step_all(rounds) if isinstance(r, Metrics)]
    every = np.quantile([v for mine in values for v in mine if math.isfinite(v)], 0.5 if op == "median" else 0.99)
    assert [(r.corrects, r.coverage) for r in records] == [(True, Coverage(3, 3, 3))]
    assert records[0].values == pytest.approx({"q": every}, rel=0.01)


def test_a_late_row_with_a_new_name_keeps_that_name() -> None:
    buffers, rounds = job(2)
    for rank in (0, 1):
        log(buffers[rank], 0, loss=1.0)
        buffers[rank].close_all()
    step_all(rounds)
    log(buffers[0], 1, loss=1.0)
    buffers[0].close_all()
    while not any(isinstance(r, Metrics) for r in step_all(rounds, timeout_s=0.2)):
        pass
    log(buffers[1], 1, loss=3.0, extra=7.0)
    buffers[1].close_all()
    records = []
    while not records:
        records = step_all(rounds)
    assert [(r.values, r.corrects) for r in records if isinstance(r, Metrics)] == [({"loss": 2.0}, True)]
    for each in rounds:
        each.request_close()
    records = step_all(rounds, 3)
    assert [(r.values, r.coverage) for r in records if isinstance(r, Metrics)] == [({"extra": 7.0}, Coverage(2, 2, 1))]


def test_a_repeated_step_is_a_new_record_each_time() -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(4):
            log(buffer, step, loss=1.0)
            log(buffer, 0, epoch_loss=float(step + rank))

    out = run_ranks(script, 2)
    assert [m.values["epoch_loss"] for m in out.metrics("epoch_loss")] == [0.5, 1.5, 2.5, 3.5]
    assert not any(m.corrects for m in out.metrics("epoch_loss"))


@sizes
def test_nan_is_left_out_and_named_once(size: int) -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(3):
            log(buffer, step, loss=math.nan if rank == size - 1 else 2.0)
            if rank == 0:
                log(buffer, step, mine=math.inf)

    out = run_ranks(script, size)
    assert out.series("loss") == dict.fromkeys(range(3), 2.0)
    assert all(math.isnan(v) for v in out.series("mine").values())
    events = {(e.text.split(":")[0], e.rank, e.step) for e in out.events("nonfinite")}
    assert events == {("loss", size - 1, 0), ("mine", 0, 0)}
    assert len(out.events("nonfinite")) == 2


@sizes
def test_per_rank_values_and_posted_records_reach_rank_0(size: int) -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(3):
            log(buffer, step, op="per_rank", t=float(rank))
        rounds.post([Metrics(0, 0, -1, {f"posted_{rank}": 1.0})])

    out = run_ranks(script, size)
    for rank in range(size):
        assert out.series(f"t/rank_{rank:03d}") == dict.fromkeys(range(3), float(rank))
        assert out.series(f"posted_{rank}") == {0: 1.0}
    assert all(m.op is None for m in out.records if isinstance(m, Metrics))


@sizes
def test_a_record_that_cannot_be_encoded_takes_no_other_with_it(size: int) -> None:
    lost = {}

    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        bad = Metrics(0, 0, -1, {"\ud800": 1.0})
        rounds.post([Metrics(0, 0, -1, {f"before_{rank}": 1.0}), bad, Metrics(1, 0, -1, {f"after_{rank}": 1.0})])
        lost[rank] = rounds.lost

    out = run_ranks(script, size)
    for rank in range(size):
        assert out.series(f"before_{rank}") == {0: 1.0} and out.series(f"after_{rank}") == {1: 1.0}
    assert lost == dict.fromkeys(range(size), 1)


@pytest.mark.parametrize("limit_bytes", [1, 7, 100])
def test_large_records_arrive_in_order_over_several_rounds(monkeypatch: pytest.MonkeyPatch, limit_bytes: int) -> None:
    monkeypatch.setattr("ranklog.reduce.exchange.CHUNK_BYTES", limit_bytes)

    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        if rank:
            rounds.post([Metrics(step, 0, -1, {"m" * 30: 1.0}) for step in range(20)])

    out = run_ranks(script, 2)
    assert [r.step for r in out.records if isinstance(r, Metrics)] == list(range(20))


@sizes
def test_the_run_id_of_rank_0_is_known_everywhere_and_all_finish_in_the_same_round(size: int) -> None:
    out = run_ranks(lambda rank, buffer, rounds: None, size)
    assert {r.run_id for r in out.rounds} == {"run-a"}
    assert all(r.finished and r.failed is None for r in out.rounds)


def test_more_rows_than_one_round_takes_all_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklog.reduce.exchange.FUSED_ROWS", 50)
    monkeypatch.setattr("ranklog.reduce.gathered.GATHER_ROWS", 64)

    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for step in range(500):
            log(buffer, step, loss=float(step))
            if rank and step >= 250:
                log(buffer, step, extra=1.0)

    out = run_ranks(script, 2)
    assert out.series("loss") == {step: float(step) for step in range(500)}
    assert set(out.coverage("loss").values()) == {(2, 2)}
    assert out.coverage("extra") == dict.fromkeys(range(250, 500), (2, 1))


@pytest.mark.parametrize(("close", "shared_at_first"), [(False, False), (True, False), (True, True)])
def test_a_backlog_of_different_keys_drains_in_consecutive_rounds(
    monkeypatch: pytest.MonkeyPatch, close: bool, shared_at_first: bool
) -> None:
    monkeypatch.setattr("ranklog.reduce.gathered.GATHER_ROWS", 64)
    buffers, rounds = job(2)
    for buffer in buffers:
        if shared_at_first:
            log(buffer, 0, both=1.0)
            buffer.close_all()
    step_all(rounds)
    for rank, buffer in enumerate(buffers):
        for step in range(500):
            log(buffer, step, **{f"only_{rank}": 1.0})
        buffer.close_all()
        if close:
            rounds[rank].request_close()
    records = step_all(rounds, 12, timeout_s=600.0)
    coverage = [r.coverage for r in records if isinstance(r, Metrics)]
    assert coverage == [Coverage(2, 2, 1)] * 1000
    assert not any(buffer.pending for buffer in buffers)
    assert all(r.finished == close for r in rounds)


def test_different_versions_are_refused_with_both_hosts() -> None:
    worlds = FakeWorld(2).ranks()

    class Older:
        """A rank of another version."""

        def step(self, timeout_s: float) -> list[object]:
            worlds[1].all_gather(msgspec.msgpack.encode(Handshake(0, "", "", "node-b", 1, 1)), timeout_s=timeout_s)
            return []

    rounds = Rounds(worlds[0], Buffer(0), run_id="run-a")
    step_all([rounds, Older()])  # type: ignore[list-item]
    assert rounds.failed is not None
    assert "different versions" in rounds.failed
    assert "node-b" in rounds.failed


def test_loggers_of_different_runs_are_not_mixed() -> None:
    worlds = FakeWorld(2).ranks()
    rounds = [Rounds(worlds[rank], Buffer(rank), run_id=f"run-{rank}") for rank in range(2)]
    step_all(rounds)
    for each in rounds:
        assert each.failed is not None
        assert "run 'run-0' on rank 0, 'run-1' on rank 1" in each.failed


def test_rank_0_continues_alone_when_another_rank_is_gone() -> None:
    buffers, rounds = job(3)
    for rank in range(3):
        log(buffers[rank], 0, loss=float(rank))
        log(buffers[rank], 1, loss=float(rank))
        log(buffers[rank], 1, op="per_rank", own=float(rank))
    assert len([r for r in step_all(rounds) if isinstance(r, Metrics) and "loss" in r.values]) == 1
    for buffer in buffers:
        buffer.close_all()
    rounds[2].world.close()
    records = step_all(rounds[:2])
    assert all(r.failed and "rank 2" in r.failed for r in rounds[:2])
    alone = [r for r in records if isinstance(r, Metrics)]
    assert [(m.step, m.values, m.coverage) for m in alone] == [(1, {"loss": 0.0}, Coverage(1, 3, 1))]
    assert [r.code for r in records if isinstance(r, Event)] == [UNSENT]
    assert (rounds[0].lost, rounds[1].lost) == (0, 1)
    log(buffers[0], 2, loss=5.0)
    buffers[0].close_all()
    (later,) = rounds[0].step(1.0)
    assert isinstance(later, Metrics)
    assert later.coverage == Coverage(1, 3, 1)


def test_a_rank_that_never_comes_costs_one_time_limit() -> None:
    _, rounds = job(2)
    assert [r.code for r in rounds[0].step(0.05) if isinstance(r, Event)] == [UNSENT]
    assert "[1]" in str(rounds[0].failed)


def test_without_a_communicator_rank_0_writes_its_own_and_others_count_what_they_lose() -> None:
    for rank, expected in ((0, (1, 0)), (1, (0, 2))):
        buffer = Buffer(rank)
        rounds = Rounds(SeveredWorld(Place(rank=rank, world_size=2), "1 of 2 ranks did not join"), buffer)
        log(buffer, 0, loss=1.0)
        rounds.post([] if rank == 0 else [Metrics(0, 0, -1, {"a": 1.0})])
        buffer.close_all()
        records = [r for r in rounds.step(1.0) if isinstance(r, Metrics)]
        assert (len(records), rounds.lost) == expected
        assert rounds.failed == "1 of 2 ranks did not join"
        assert all(r.coverage == Coverage(1, 2, 1) for r in records)


def test_one_process_reduces_its_own_values() -> None:
    buffer = Buffer()
    rounds = Rounds(SingleWorld(), buffer, run_id="run-a")
    log(buffer, 0, loss=1.0)
    log(buffer, 0, loss=2.0)
    rounds.post([Metrics(0, 0, -1, {"own": 1.0})])
    assert rounds.step(1.0) == [Metrics(0, 0, -1, {"own": 1.0})]
    rounds.request_close()
    assert rounds.step(1.0) == [Metrics(0, 1000, -1, {"loss": 1.5}, "mean", Coverage(1, 1, 1))]
    assert rounds.finished


def test_a_per_rank_value_just_before_closing_is_sent() -> None:
    class Late(Buffer):
        """A value is added and the rank closed right after the round has looked for values."""

        def take_per_rank(self) -> list[PerRank]:
            taken = super().take_per_rank()
            if not rounds[1]._closing:
                log(self, 0, op="per_rank", t=5.0)
                rounds[1].request_close()
            return taken

    rounds = [
        Rounds(world, Late(1) if world.place.rank else Buffer(0), run_id="run-a") for world in FakeWorld(2).ranks()
    ]
    rounds[0].request_close()
    records = []
    while not all(r.finished for r in rounds):
        records += step_all(rounds)
    assert [r.values for r in records if isinstance(r, Metrics)] == [{"t/rank_001": 5.0}]


class Watched:
    """A world that notes the largest message, and can act before a call or break at one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.place = world.place
        self.largest = 0
        self.lengths: list[int] = []
        self.before: Callable[[str], None] = lambda call: None
        self.limits_s: list[float] = []

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        self.before("all_reduce")
        self.limits_s.append(timeout_s)
        self.lengths.append(len(values))
        return self.world.all_reduce(values, op=op, timeout_s=timeout_s)

    def all_gather(self, data: bytes, *, timeout_s: float) -> list[bytes]:
        self.before("all_gather")
        self.largest = max(self.largest, len(data))
        return self.world.all_gather(data, timeout_s=timeout_s)

    def barrier(self, *, timeout_s: float) -> None:
        self.world.barrier(timeout_s=timeout_s)

    def close(self) -> None:
        self.world.close()


def watched_job(size: int) -> tuple[list[Buffer], list[Rounds], list[Watched]]:
    worlds = [Watched(world) for world in FakeWorld(size).ranks()]
    buffers = [Buffer(rank) for rank in range(size)]
    return buffers, [Rounds(w, b, run_id="run-a") for w, b in zip(worlds, buffers, strict=True)], worlds


def test_one_large_record_travels_in_bounded_messages_between_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranklog.reduce.exchange.CHUNK_BYTES_ALL_RANKS", 3000)
    _, rounds, worlds = watched_job(3)
    for rank in (1, 2):
        texts = ["first", str(rank) * 20_000, "last"]
        rounds[rank].post([Event("info", "mail", text, 0, rank=rank) for text in texts])
    records = step_all(rounds, 10)
    assert rounds[1].records_pending
    records += step_all(rounds, 15)
    for rank in (1, 2):
        got = [r.text for r in records if isinstance(r, Event) and r.rank == rank]
        assert got == ["first", str(rank) * 20_000, "last"]
    assert max(world.largest for world in worlds) <= 1000
    assert not any(r.records_pending for r in rounds)


def test_a_posted_record_is_pending_until_the_round_that_carries_it_is_over() -> None:
    _, rounds, worlds = watched_job(2)
    seen: list[bool] = []
    for rank in (0, 1):
        rounds[rank].post([Metrics(0, 0, -1, {f"posted_{rank}": 1.0})])
    worlds[0].before = lambda call: seen.append(rounds[0].records_pending)
    worlds[1].before = lambda call: seen.append(rounds[1].records_pending)
    assert len(step_all(rounds)) == 2
    assert len(seen) == 6
    assert all(seen)
    assert not any(r.records_pending for r in rounds)
    sent, delivered = rounds[1]._desk.outgoing.queue.sent, threading.Event()
    rounds[1].post([Metrics(0, 0, -1, {"again": 1.0})])

    def sent_and_looked() -> None:
        sent()
        seen.append(rounds[1].records_pending)
        delivered.set()

    rounds[1]._desk.outgoing.queue.sent = sent_and_looked  # type: ignore[method-assign]
    step_all(rounds)
    assert delivered.is_set()
    assert seen[-1]


def test_the_wait_for_a_late_rank_takes_no_time_from_the_rest_of_the_round() -> None:
    buffers, rounds, worlds = watched_job(2)
    step_all(rounds)
    for buffer in buffers:
        log(buffer, 0, loss=1.0)
        buffer.close_all()
    clock_s = [0.0]
    worlds[0].limits_s.clear()

    class Clock:
        """Time of rank 0's limits: stands still but for the header."""

        @staticmethod
        def monotonic() -> float:
            return clock_s[0]

    header = worlds[0].world.all_reduce

    def slow_header(values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        out = header(values, op=op, timeout_s=120.0)
        clock_s[0] = 29.5
        return out

    worlds[0].world.all_reduce = slow_header  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ranklog.reduce.fused.time", Clock)
        step_all(rounds, timeout_s=30.0)
    assert len(worlds[0].limits_s) > 1
    assert worlds[0].limits_s == [30.0] * len(worlds[0].limits_s)


@pytest.mark.parametrize("error", [RuntimeWarning("overflow"), ValueError("odd"), MemoryError(), KeyError("x")])
def test_after_any_error_in_a_round_rank_0_continues_alone(error: Exception) -> None:
    buffers, rounds, worlds = watched_job(2)
    step_all(rounds)
    for buffer in buffers:
        log(buffer, 0, loss=1.0)
        buffer.close_all()

    def fail(call: str) -> None:
        raise error

    worlds[0].before = fail
    records = rounds[0].step(1.0)
    assert rounds[0].failed == repr(error)
    assert [r.coverage for r in records if isinstance(r, Metrics)] == [Coverage(1, 2, 1)]
    (event,) = [r for r in records if isinstance(r, Event)]
    assert (event.code, repr(error) in event.text) == (UNSENT, True)
    log(buffers[0], 1, loss=1.0)
    buffers[0].close_all()
    assert len(rounds[0].step(1.0)) == 1


@pytest.mark.parametrize("size", [1, 2])
def test_a_row_that_makes_no_record_is_counted_and_takes_no_other_with_it(size: int) -> None:
    buffer = Buffer()
    world = SingleWorld() if size == 1 else SeveredWorld(Place(rank=0, world_size=2), "gone")
    rounds = Rounds(world, buffer)
    for step, value in enumerate((1.0, "no number", 2.0, "nor this")):
        log(buffer, step, loss=value)  # type: ignore[arg-type]
        log(buffer, step, op="per_rank", own=1.0 if step else np.float32(1.0))  # type: ignore[arg-type]
    buffer.close_all()
    records = rounds.step(1.0)
    metrics = [r for r in records if isinstance(r, Metrics)]
    assert [m.values["loss"] for m in metrics if "loss" in m.values] == [1.0, 2.0]
    assert len(metrics) == 5
    assert rounds.lost == 3
    assert len([r for r in records if isinstance(r, Event) and r.code == "values_lost"]) == 1
    assert not buffer.pending
    assert rounds.step(1.0) == []


def test_the_event_about_a_broken_connection_says_what_is_lost_where_nothing_can_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ranklog.reduce.exchange.CHUNK_BYTES", 50)
    buffers, rounds = job(2)
    rounds[1].post([Event("info", "mail", "x" * 200, 0)])
    log(buffers[0], 0, op="per_rank", own=np.float32(1.0))  # type: ignore[arg-type]
    log(buffers[1], 0, loss=1.0)
    buffers[1].close_all()
    step_all(rounds)
    rounds[1].world.close()
    records = rounds[0].step(1.0)
    (event,) = [r for r in records if isinstance(r, Event)]
    assert "values that other ranks had not sent are lost, and 1 values of rank 0" in event.text
    rounds[1].step(1.0)
    assert (rounds[0].lost, rounds[1].lost) == (1, 2)


def test_values_that_overflow_do_not_end_the_rounds_where_warnings_are_errors() -> None:
    def script(rank: int, buffer: Buffer, rounds: Rounds) -> None:
        for op in ("sum", "mean", "std", "stats", "median", "p99"):
            for samples in (1, 3):
                for _ in range(samples):
                    log(buffer, samples, op=op, **{op: 1.7e308 if rank else -1.7e308})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = run_ranks(script, 2)
    assert [r.failed for r in out.rounds] == [None, None]
    assert {m.op for m in out.records if isinstance(m, Metrics)} == {"sum", "mean", "std", "stats", "median", "p99"}


def test_an_abandoned_round_gives_the_values_that_it_had_reduced() -> None:
    buffers, rounds, worlds = watched_job(2)
    step_all(rounds)
    for rank, buffer in enumerate(buffers):
        log(buffer, 0, loss=float(rank))
        buffer.close_all()
    rounds[1].post([Metrics(0, 0, -1, {"own": 1.0})])
    hangs, go_on = threading.Event(), threading.Event()

    def hang(call: str) -> None:
        if call == "all_gather":  # of ready-made records, after the values
            hangs.set()
            go_on.wait(120)

    worlds[0].before = hang
    threads = [threading.Thread(target=each.step, args=(5.0,)) for each in rounds]
    for thread in threads:
        thread.start()
    assert hangs.wait(120)
    log(buffers[0], 1, loss=2.0)
    records = rounds[0].abandon("the time is over")
    written = [r for r in records if isinstance(r, Metrics)]
    go_on.set()
    for thread in threads:
        thread.join(120)
    (event,) = [r for r in records if isinstance(r, Event)]
    assert "the time is over" in event.text
    assert [(r.step, r.values, r.coverage) for r in written] == [
        (0, {"loss": 0.5}, Coverage(2, 2, 2)),
        (1, {"loss": 2.0}, Coverage(1, 2, 1)),
    ]
