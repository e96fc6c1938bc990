"""Which calls count, for which backends, on which rank."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranklog.model.errors import InvalidArgumentError
from ranklog.model.spec import BackendSpec, check_log_freq, check_log_on_workers
from ranklog.pipeline.gate import Gate, freq_takes

FREQS = st.one_of(st.sampled_from(["epoch", "batch"]), st.integers(1, 50))


def gate(*specs: BackendSpec, rank: int = 0, world_size: int = 4, first_bit: int = 0) -> Gate:
    return Gate(specs, rank=rank, world_size=world_size, first_bit=first_bit)


def test_epoch_takes_only_calls_without_batch_idx() -> None:
    one = gate(BackendSpec(backend="a", log_freq="epoch"))
    assert one.every == 1
    assert one.batch(0) == 0


def test_an_int_takes_multiples_and_every_call_without_batch_idx() -> None:
    one = gate(BackendSpec(backend="a", log_freq=3))
    assert [bool(one.batch(i)) for i in range(7)] == [True, False, False, True, False, False, True]
    assert one.every == 1


def test_batch_takes_every_call() -> None:
    one = gate(BackendSpec(backend="a", log_freq="batch"))
    assert one.every == one.batch(0) == one.batch(17) == 1


@given(st.lists(FREQS, min_size=1, max_size=5), st.integers(0, 10_000))
def test_each_member_of_a_collection_keeps_its_own_frequency(freqs: list[int | str], batch_idx: int) -> None:
    several = gate(*(BackendSpec(backend=f"b{i}", log_freq=f) for i, f in enumerate(freqs)))
    for index, freq in enumerate(freqs):
        assert bool(several.batch(batch_idx) >> index & 1) == freq_takes(freq, batch_idx)  # type: ignore[arg-type]
        assert several.every >> index & 1


@pytest.mark.parametrize(("workers", "writers"), [(0, {0}), (2, {2}), ((1, 3), {1, 3}), (-1, {0, 1, 2, 3})], ids=str)
def test_log_on_workers_names_the_ranks_that_write(workers: int | tuple[int, ...], writers: set[int]) -> None:
    spec = BackendSpec(backend="a", log_on_workers=workers)
    gates = [gate(spec, rank=rank) for rank in range(4)]
    assert {rank for rank, each in enumerate(gates) if each.write} == writers
    assert all(bool(each.shared) == (len(writers) > 1) for each in gates)
    assert [rank for rank, each in enumerate(gates) if each.lead] == [min(writers)]


def test_a_rank_beyond_the_world_is_an_error_that_names_the_ranks_there_are() -> None:
    with pytest.raises(InvalidArgumentError, match="rank 4, but the world has ranks 0 to 3"):
        gate(BackendSpec(backend="a", log_on_workers=4))


def test_a_member_speaks_for_its_own_bit_only() -> None:
    member = gate(BackendSpec(backend="a", log_freq="batch"), first_bit=2)
    assert member.every == member.batch(5) == member.write == 0b100


def test_default_reductions_are_kept_apart() -> None:
    both = gate(BackendSpec(backend="a", reduce="mean"), BackendSpec(backend="b"))
    assert both.reduces
    assert dict(both.plan) == {"mean": 0b01, None: 0b10}


@pytest.mark.parametrize("bad", [0, -1, 1.5, "often", None, True])
def test_a_wrong_log_freq_is_refused_with_what_is_allowed(bad: object) -> None:
    with pytest.raises(InvalidArgumentError, match='"epoch", "batch" or an int > 0'):
        check_log_freq(bad)


@pytest.mark.parametrize("bad", [-2, "all", [], [0, -1], [0.5], None, True])
def test_wrong_log_on_workers_are_refused_with_what_is_allowed(bad: object) -> None:
    with pytest.raises(InvalidArgumentError, match="a rank, a list of ranks, or -1"):
        check_log_on_workers(bad)
