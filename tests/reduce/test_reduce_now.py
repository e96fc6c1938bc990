"""`reduce_now` gives every rank the same result, or an error with the cause."""

import threading
from collections.abc import Callable

import pytest

from ranklog.abc import World
from ranklog.model.errors import InvalidArgumentError, ReduceTimeoutError
from ranklog.reduce.reduce_now import reduce_now
from ranklog.world.fake import FakeWorld
from ranklog.world.single import SingleWorld


def on_every_rank(size: int, call: Callable[[int, World], object]) -> list[object]:
    out: list[object] = [None] * size

    def one(rank: int, world: World) -> None:
        try:
            out[rank] = call(rank, world)
        except Exception as error:
            out[rank] = error

    threads = [threading.Thread(target=one, args=(r, w)) for r, w in enumerate(FakeWorld(size).ranks())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return out


@pytest.mark.parametrize(
    ("op", "expected"), [("mean", 1.0), ("sum", 3.0), ("min", 0.0), ("max", 2.0), ("std", (2 / 3) ** 0.5)]
)
def test_every_rank_gets_the_result(op: str, expected: float) -> None:
    got = on_every_rank(3, lambda rank, world: reduce_now(world, float(rank), op=op, timeout_s=5))
    assert got == pytest.approx([expected] * 3)


def test_weights_weigh_the_mean() -> None:
    got = on_every_rank(2, lambda rank, world: reduce_now(world, float(rank), weight=1 + 2 * rank, timeout_s=5))
    assert got == [0.75, 0.75]


def test_a_mapping_comes_back_as_one() -> None:
    got = on_every_rank(2, lambda rank, world: reduce_now(world, {"a": rank, "b": 1}, op="sum", timeout_s=5))
    assert got == [{"a": 1.0, "b": 2.0}] * 2


def test_different_names_are_an_error_on_every_rank() -> None:
    got = on_every_rank(2, lambda rank, world: reduce_now(world, {f"a{rank}": 1.0}, timeout_s=5))
    assert all(isinstance(e, InvalidArgumentError) and "on all ranks" in str(e) for e in got)


def test_a_rank_that_does_not_call_is_a_timeout() -> None:
    world = FakeWorld(2).ranks()[0]
    with pytest.raises(ReduceTimeoutError, match="every rank must call"):
        reduce_now(world, 1.0, timeout_s=0.05)


def test_one_process_gets_its_own_value() -> None:
    assert reduce_now(SingleWorld(), 2.5, timeout_s=1) == 2.5


@pytest.mark.parametrize("op", ["median", "stats", "per_rank"])
def test_other_reductions_are_refused(op: str) -> None:
    with pytest.raises(InvalidArgumentError, match="mean, sum, min, max, std"):
        reduce_now(SingleWorld(), 1.0, op=op, timeout_s=1)
