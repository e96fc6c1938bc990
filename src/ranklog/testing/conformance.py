"""Conformance checks for strategies, to run on every rank of a real job. Third parties can check their own strategies.

Start a script with at least 2 processes in which each rank calls `check_strategy`. It raises `AssertionError` at the
first check that fails. As in training, a separate thread uses the communicator while the main thread makes the user's
collective calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from ranklog.abc import Strategy, World
from ranklog.model.errors import WorldError

LIMIT_S = 30.0
BESIDE_CALLS = 200
_LATE_S = 10.0


def place(world: World) -> None:
    """Check that the ranks are 0 to world size - 1, each once."""
    size = world.place.world_size
    got = world.all_gather(str(world.place.rank).encode(), timeout_s=LIMIT_S)
    assert [int(data) for data in got] == list(range(size))


def sums_are_exact(world: World) -> None:
    """Check that sums are float64 and that the given values do not change."""
    size, rank = world.place.world_size, world.place.rank
    values = np.array([float(rank), 2.0**52 if rank == 0 else 1.0, 0.0])
    got = world.all_reduce(values, op="sum", timeout_s=LIMIT_S)
    assert got.dtype == np.float64
    assert got.tolist() == [size * (size - 1) / 2, 2.0**52 + size - 1, 0.0]
    assert values[0] == rank


def extremes_are_exact(world: World) -> None:
    """Check minima and maxima, with infinities among the values."""
    size, rank = world.place.world_size, world.place.rank
    values = np.array([rank - 0.1, np.inf if rank else 1.0, -np.inf])
    assert world.all_reduce(values, op="min", timeout_s=LIMIT_S).tolist() == [-0.1, 1.0, -np.inf]
    top = np.inf if size > 1 else 1.0
    assert world.all_reduce(values, op="max", timeout_s=LIMIT_S).tolist() == [size - 1 - 0.1, top, -np.inf]


def every_rank_gets_the_same_sum(world: World) -> None:
    """Check that sums are equal to the last bit, even where rounding depends on the order."""
    values = np.random.default_rng(world.place.rank).normal(size=1000)
    got = world.all_reduce(values, op="sum", timeout_s=LIMIT_S)
    assert (world.all_reduce(got, op="min", timeout_s=LIMIT_S) == got).all()
    assert (world.all_reduce(got, op="max", timeout_s=LIMIT_S) == got).all()


def nothing_to_reduce(world: World) -> None:
    """Check the sum of empty vectors."""
    assert world.all_reduce(np.zeros(0), op="sum", timeout_s=LIMIT_S).shape == (0,)


def bytes_of_different_lengths(world: World) -> None:
    """Check that gathered bytes of different lengths, empty ones among them, come in the order of the ranks."""
    size, rank = world.place.world_size, world.place.rank
    expected = [bytes([r % 256]) * (r * 1000) for r in range(size)]
    assert world.all_gather(expected[rank], timeout_s=LIMIT_S) == expected
    assert world.all_gather(b"", timeout_s=LIMIT_S) == [b""] * size


def barrier(world: World) -> None:
    """Check that a barrier returns when every rank calls it."""
    world.barrier(timeout_s=LIMIT_S)


CHECKS: dict[str, Callable[[World], None]] = {
    check.__name__: check
    for check in (
        place,
        sums_are_exact,
        extremes_are_exact,
        every_rank_gets_the_same_sum,
        nothing_to_reduce,
        bytes_of_different_lengths,
        barrier,
    )
}
"""Checks of an open communicator, by name. Every rank calls each with its own `World`."""


def check_strategy(strategy: Strategy, *, together: Callable[[], None], beside: Callable[[], None]) -> list[str]:
    """Check a strategy.

    Args:
        strategy: The strategy, ready to connect.
        together: A barrier of the user's.
        beside: A collective call of the user's that checks its own result.

    Returns:
        Names of the checks that passed.

    Raises:
        AssertionError: a check failed on this rank.

    Ranks: all call, from the main thread, with the same arguments; blocks for some seconds.
    """
    assert strategy.ready(), f"{strategy.name} is not ready to connect"
    done: list[str] = []

    def both(name: str, work: Callable[[], None], calls: int = 0) -> None:
        _in_thread(strategy, work, beside, calls)
        done.append(name)
        together()

    worlds: list[World] = []

    def connect() -> None:
        worlds.append(strategy.connect(channel="conformance/1", timeout_s=LIMIT_S))
        worlds.append(strategy.connect(channel="conformance/2", timeout_s=LIMIT_S))

    both("connect", connect, BESIDE_CALLS)
    here = strategy.place()
    for world in worlds:
        assert (world.place.rank, world.place.world_size) == (here.rank, here.world_size)
    for name, check in CHECKS.items():
        both(name, lambda check=check: check(worlds[0]))  # type: ignore[misc]
    both("beside the user's collectives", lambda: _many_calls(worlds[0], worlds[1]), BESIDE_CALLS)
    if here.world_size > 1:
        both("absent ranks", lambda: _alone(strategy, here.rank), BESIDE_CALLS)
        both("time limit", lambda: _overdue(worlds[1]))
    both("close", lambda: _closed(worlds[0]))
    worlds[1].close()
    return done


def _in_thread(strategy: Strategy, work: Callable[[], None], beside: Callable[[], None], calls: int) -> None:
    """Run ``work`` in a thread while the main thread makes collective calls and progress calls."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="conformance", daemon=True)
    thread.start()
    for _ in range(calls):
        beside()
        _progress(strategy)
    end_s = time.monotonic() + 4 * LIMIT_S
    while thread.is_alive():
        assert time.monotonic() < end_s, "a call did not return"
        _progress(strategy)
        thread.join(0.001)
    if errors:
        raise errors[0]


def _progress(strategy: Strategy) -> None:
    if (progress := getattr(strategy, "progress", None)) is not None:
        progress()


def _many_calls(world: World, other: World) -> None:
    size, rank = world.place.world_size, world.place.rank
    for number in range(50):
        got = world.all_reduce(np.full(3, float(rank + number)), op="sum", timeout_s=LIMIT_S)
        assert got.tolist() == [size * (size - 1) / 2 + size * number] * 3
        assert other.all_gather(b"%d" % number, timeout_s=LIMIT_S) == [b"%d" % number] * size


def _alone(strategy: Strategy, rank: int) -> None:
    """Check that rank 0, which connects alone, gets an error in time, can try again and delays no other rank."""
    for _ in range(2 if rank == 0 else 0):
        _fails_in_time(lambda: strategy.connect(channel="conformance/alone", timeout_s=0.5))


def _overdue(world: World) -> None:
    """Check that a call of rank 0 alone fails in time and that the communicator stays broken."""
    if world.place.rank == 0:
        _fails_in_time(lambda: world.all_reduce(np.ones(1), op="sum", timeout_s=0.5))
        _fails_in_time(lambda: world.barrier(timeout_s=0.5))


def _closed(world: World) -> None:
    world.close()
    world.close()
    if world.place.world_size > 1:
        _fails_in_time(lambda: world.barrier(timeout_s=0.5))


def _fails_in_time(call: Callable[[], object]) -> None:
    started_s = time.monotonic()
    try:
        call()
    except WorldError:
        assert time.monotonic() - started_s < _LATE_S, "the error came late"
    else:
        raise AssertionError("no WorldError")
