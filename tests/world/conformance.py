"""Promises of a `World`, each a function that every rank runs."""

from collections.abc import Callable

import numpy as np

from ranklog.world.base import World

LIMIT_S = 20.0


def place(world: World) -> None:
    assert 0 <= world.place.rank < world.place.world_size


def sums_are_exact(world: World) -> None:
    size, rank = world.place.world_size, world.place.rank
    values = np.array([float(rank), 2.0**52 if rank == 0 else 1.0, 0.0])
    got = world.all_reduce(values, op="sum", timeout_s=LIMIT_S)
    assert got.dtype == np.float64
    assert got.tolist() == [size * (size - 1) / 2, 2.0**52 + size - 1, 0.0]
    assert values[0] == rank, "the given values are left alone"


def extremes_are_exact_also_with_infinities(world: World) -> None:
    size, rank = world.place.world_size, world.place.rank
    values = np.array([rank - 0.1, np.inf if rank else 1.0, -np.inf])
    assert world.all_reduce(values, op="min", timeout_s=LIMIT_S).tolist() == [-0.1, 1.0, -np.inf]
    top = np.inf if size > 1 else 1.0
    assert world.all_reduce(values, op="max", timeout_s=LIMIT_S).tolist() == [size - 1 - 0.1, top, -np.inf]


def every_rank_gets_the_same_sum(world: World) -> None:
    values = np.random.default_rng(world.place.rank).normal(size=1000)
    got = world.all_reduce(values, op="sum", timeout_s=LIMIT_S)
    low = world.all_reduce(got, op="min", timeout_s=LIMIT_S)
    assert (low == got).all()


def bytes_of_different_lengths(world: World) -> None:
    size, rank = world.place.world_size, world.place.rank
    expected = [bytes([r]) * (r * 1000) for r in range(size)]
    assert world.all_gather(expected[rank], timeout_s=LIMIT_S) == expected
    assert world.all_gather(b"", timeout_s=LIMIT_S) == [b""] * size


def barrier(world: World) -> None:
    world.barrier(timeout_s=LIMIT_S)


CHECKS: dict[str, Callable[[World], None]] = {
    check.__name__: check
    for check in (
        place,
        sums_are_exact,
        extremes_are_exact_also_with_infinities,
        every_rank_gets_the_same_sum,
        bytes_of_different_lengths,
        barrier,
    )
}
