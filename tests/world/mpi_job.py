"""One rank of an MPI job: ``python mpi_job.py LEVEL TRIALS [ARGUMENT]``; prints a line for each trial that held.

LEVEL is what MPI is initialised with: multiple, serialized or funneled. Commas separate the trials.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mpi4py
import numpy as np

LEVEL, TRIALS = sys.argv[1:3]
mpi4py.rc.thread_level = LEVEL

from mpi4py import MPI  # noqa: E402 - initialises MPI

from ranklog.abc import World  # noqa: E402
from ranklog.loggers import JournalLogger  # noqa: E402
from ranklog.model.errors import WorldError  # noqa: E402
from ranklog.testing.conformance import CHECKS, check_strategy  # noqa: E402
from ranklog.world.mpi import MpiStrategy  # noqa: E402
from ranklog.world.mpi import strategy as mpi  # noqa: E402
from ranklog.world.place.detect import detect_place  # noqa: E402
from ranklog.world.strategies import resolve_strategy  # noqa: E402

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()
LIMIT_S = 30.0


def beside() -> None:
    """Collectives, new communicators and receives with any tag, as programs use them."""
    assert COMM.allreduce(RANK) == SIZE * (SIZE - 1) // 2
    COMM.Dup().Free()
    request = COMM.isend(("mine", RANK), dest=(RANK + 1) % SIZE)
    assert COMM.recv(source=(RANK - 1) % SIZE) == ("mine", (RANK - 1) % SIZE)
    request.wait()


def in_thread(strategy: MpiStrategy, work: Callable[[], Any]) -> Any:
    """The result of work, or its `WorldError`, done as the reducer does it."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except WorldError as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        if strategy.progress is not None:
            strategy.progress()
        thread.join(0.001)
    return results[0]


def connected(strategy: MpiStrategy) -> World:
    world: World = in_thread(strategy, lambda: strategy.connect(channel="job", timeout_s=LIMIT_S))
    assert not isinstance(world, WorldError), world
    return world


def promises() -> None:
    auto = resolve_strategy("auto")
    assert auto.name == "mpi"
    for place in (auto.place(), detect_place(os.environ)):
        assert (place.rank, place.world_size) == (RANK, SIZE)
    assert (MpiStrategy().progress is None) == (LEVEL == "multiple")
    done = check_strategy(resolve_strategy("mpi"), together=COMM.Barrier, beside=beside)
    assert {*CHECKS, "absent ranks", "time limit", "close"} <= set(done)


def own_communicator() -> None:
    """The first rank takes no part; the others are numbered backwards."""
    group = COMM.Split(min(RANK, 1), -RANK)
    if RANK == 0:
        return
    strategy = MpiStrategy(communicator=group)
    place = strategy.place()
    assert (place.rank, place.world_size) == (SIZE - 1 - RANK, SIZE - 1)
    check_strategy(strategy, together=group.Barrier, beside=beside_in(group))


def beside_in(group: Any) -> Callable[[], None]:
    return lambda: bool(group.allreduce(1)) or None


def any_tag() -> None:
    """A receive with any tag that waits all the time gets the program's message, not one of ranklog's."""
    strategy = MpiStrategy()
    COMM.Barrier()
    world = threading.Thread(target=several_calls, args=(strategy,))
    world.start()
    if RANK == 0:
        world.join()
        for other in range(1, SIZE):
            COMM.Send(np.full(1000, 7.0), dest=other)
            COMM.send("pickled", dest=other)
    else:
        numbers = np.zeros(1000)
        COMM.Recv(numbers, source=0)
        assert (numbers == 7.0).all()
        assert COMM.recv() == "pickled"
        world.join()


def several_calls(strategy: MpiStrategy) -> None:
    world = strategy.connect(channel="job", timeout_s=LIMIT_S)
    for number in range(20):
        assert world.all_reduce(np.full(9, float(number)), op="sum", timeout_s=LIMIT_S)[0] == number * SIZE


def large() -> None:
    strategy = MpiStrategy()
    world = connected(strategy)
    for length in (3983, 3984, 14 * 3983 - 8, 14 * 3983, 1_000_000):  # around a piece and a window
        data = [bytes([rank]) * (length + rank) for rank in range(SIZE)]
        assert in_thread(strategy, lambda data=data: world.all_gather(data[RANK], timeout_s=LIMIT_S)) == data


def rank_0_alone() -> None:
    if RANK == 0:
        strategy = MpiStrategy()
        error = in_thread(strategy, lambda: strategy.connect(channel="job", timeout_s=0.3))
        assert f"no sign of rank {', '.join(map(str, range(1, SIZE)))}" in str(error), error


def waiting_at_the_end() -> None:
    """The process ends while a thread waits for ranks, and another for an answer."""
    strategy = MpiStrategy()
    world = connected(strategy)
    COMM.Barrier()
    if RANK == 0:
        for wait in (lambda: world.barrier(timeout_s=100), lambda: strategy.connect(channel="more", timeout_s=100)):
            threading.Thread(target=quietly, args=(wait,), daemon=True).start()


def quietly(wait: Callable[[], object]) -> None:
    try:
        wait()
    except WorldError:
        pass


def silent_rank() -> None:
    """The last rank does not answer: who waited for it says so, in time, and the others learn it."""
    strategy = MpiStrategy()
    world = connected(strategy)
    COMM.Barrier()
    if RANK < SIZE - 1:
        error = in_thread(strategy, lambda: world.barrier(timeout_s=0.5))
        assert "no answer from rank" in str(error), error
        if strategy.progress is not None:
            strategy.progress()  # as the next log call does
    COMM.Barrier()
    if RANK == SIZE - 1:
        error = in_thread(strategy, lambda: world.barrier(timeout_s=LIMIT_S))
        assert f"no answer from rank {SIZE - 1}" in str(error), error


def idle_training_thread() -> None:
    import pytest

    with ThreadPoolExecutor(1) as reducer, pytest.raises(WorldError, match="it has not logged anything"):
        reducer.submit(MpiStrategy().connect, channel="job", timeout_s=0.2).result()


def open_receive() -> None:
    """A receive of the program's with any tag stays open while ranklog's ranks talk a lot."""
    strategy = MpiStrategy()
    strategy.prepare()
    world = connected(strategy)
    mine = np.zeros(4)
    request = COMM.Irecv(mine, source=(RANK - 1) % SIZE)
    for _ in range(200):
        in_thread(strategy, lambda: world.all_reduce(np.ones(3), op="sum", timeout_s=LIMIT_S))
    COMM.Send(np.full(4, 7.0), dest=(RANK + 1) % SIZE)
    request.Wait()
    assert mine.tolist() == [7.0] * 4


def unlike_calls() -> None:
    strategy = MpiStrategy()
    world = connected(strategy)
    vector = np.ones(2 + RANK)
    error = in_thread(strategy, lambda: world.all_reduce(vector, op="sum", timeout_s=LIMIT_S))
    assert "vectors of different lengths" in str(error), error


def a_rank_leaves() -> None:
    strategy = MpiStrategy()
    world = connected(strategy)
    if RANK == SIZE - 1:
        world.close()
    else:
        assert f"rank {SIZE - 1} has left" in str(in_thread(strategy, lambda: world.barrier(timeout_s=LIMIT_S)))


def finalized() -> None:
    """The program ends MPI itself while a thread waits for an answer."""
    strategy = MpiStrategy()
    world = connected(strategy)
    COMM.Barrier()
    if RANK == 0:
        threading.Thread(target=quietly, args=(lambda: world.barrier(timeout_s=100),), daemon=True).start()
    MPI.Finalize()
    assert mpi.initialised_place() is None
    for call in (lambda: world.barrier(timeout_s=LIMIT_S), lambda: strategy.connect(channel="more", timeout_s=LIMIT_S)):
        assert "has ended" in str(in_thread(strategy, call))


def log() -> None:
    logger = JournalLogger(sys.argv[3], strategy=MpiStrategy(), reduce="mean", run_id="trained", forward="later")
    with logger.start_logging():
        for step in range(20):
            beside()
            logger.log(float(step + RANK), "loss", step=step)
        assert logger.flush(LIMIT_S)
        COMM.Barrier()


if __name__ == "__main__":
    for trial in TRIALS.split(","):
        globals()[trial]()
        print(f"rank {RANK}: {trial} ok", flush=True)
