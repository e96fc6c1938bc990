"""One rank of a Horovod job: runs the trials named by the first argument, and prints a line for each that held."""

import os
import sys
import time

import horovod.torch as hvd
import numpy as np
import torch

from ranklog.loggers import JournalLogger
from ranklog.model.errors import WorldError
from ranklog.testing.conformance import check_strategy
from ranklog.world.horovod import SERVER_HOST, HorovodStrategy, initialised_place
from ranklog.world.strategies import resolve_strategy

LIMIT_S = 30.0


def reduced(tensor: torch.Tensor, name: str | None = None, op: int = hvd.Sum) -> torch.Tensor:
    """Reduce like ``hvd.allreduce``, which waits in a busy loop; here the thread sleeps between polls."""
    handle = hvd.allreduce_async(tensor, op=op, name=name)
    while not hvd.poll(handle):
        time.sleep(0.0005)
    return hvd.synchronize(handle)


def together() -> None:
    """Wait for the other ranks, as ``hvd.barrier`` does in a busy loop."""
    reduced(torch.zeros(1))


def user_trains(batches: int) -> None:
    """Operations without and with a name: Horovod matches the first by their number, and caches the second."""
    for _ in range(batches):
        got = reduced(torch.full((100,), float(hvd.rank())))
        assert got[0] == hvd.size() * (hvd.size() - 1) / 2
        assert reduced(torch.ones(3), name="gradient")[0] == hvd.size()


def refused(reason: str, channel: str) -> None:
    """Nobody else opens this channel: told so in time, at the second try as well."""
    for _ in range(2):
        try:
            HorovodStrategy().connect(channel=channel, timeout_s=0.3)
        except WorldError as error:
            assert reason in str(error), error
        else:
            raise AssertionError("no WorldError")


def promises() -> None:
    place = HorovodStrategy().place()
    assert place == initialised_place()
    assert resolve_strategy("auto").name == "horovod"
    assert (place.rank, place.world_size) == (hvd.rank(), hvd.size())
    assert (place.local_rank, place.node_count) == (hvd.local_rank(), 1)
    check_strategy(HorovodStrategy(), together=together, beside=lambda: user_trains(1))


def some_ranks_alone() -> None:
    """Each rank opens a channel that nobody else opens, trains, and joins when its batches are used up."""
    user_trains(5)
    refused("1 of 2 ranks did not join: rank 1" if hvd.rank() == 0 else "rank 0 did not join", f"{hvd.rank()}")
    user_trains(20)
    for _ in range(50 * hvd.rank()):
        reduced(torch.ones(3), name="gradient")
    hvd.join()


def late() -> None:
    """Each rank in turn has given up twice before the other comes."""
    for rank, reason in ((0, "1 of 2 ranks did not join: rank 1"), (1, "rank 0 did not join")):
        if hvd.rank() == rank:
            refused(reason, f"late/{rank}")
        together()
        world = HorovodStrategy().connect(channel=f"late/{rank}", timeout_s=LIMIT_S)
        assert world.all_gather(b"%d" % hvd.rank(), timeout_s=LIMIT_S) == [b"0", b"1"]
        world.close()


def left_open() -> None:
    """Rank 0 alone waits for the others in a thread of its own when the process ends."""
    if hvd.rank() == 0:
        logger = JournalLogger(savedir=sys.argv[2], strategy=HorovodStrategy())
        logger.create_logger_context()
        logger.log_metrics({"loss": 1.0}, step=0)
    user_trains(20)


def without_server() -> None:
    """As under mpirun, in a program that has not imported mpi4py."""
    host = os.environ.pop(SERVER_HOST)
    refused("start the job with horovodrun --gloo, or import mpi4py.MPI", "without server")
    user_trains(5)
    os.environ[SERVER_HOST] = host


def exit_early() -> None:
    """Rank 1 ends while rank 0 waits for it in ranklog's communicator."""
    world = HorovodStrategy().connect(channel="a", timeout_s=LIMIT_S)
    world.barrier(timeout_s=LIMIT_S)
    if hvd.rank() == 1:
        return
    try:
        world.all_reduce(np.ones(2), op="sum", timeout_s=LIMIT_S)
    except WorldError as error:
        assert "rank 0: allreduce with the other ranks failed" in str(error), error
    else:
        raise AssertionError("no WorldError")
    world.close()


def shut_down() -> None:
    """The user shuts Horovod down while the communicator is open."""
    world = HorovodStrategy().connect(channel="a", timeout_s=LIMIT_S)
    rank, size = hvd.rank(), hvd.size()
    together()
    hvd.shutdown()
    assert initialised_place() is None
    assert world.all_reduce(np.array([float(rank)]), op="sum", timeout_s=LIMIT_S).tolist() == [size * (size - 1) / 2]
    world.close()
    refused("call hvd.init() first", "b")


def log() -> None:
    """Rank 0 has fewer batches than rank 1, and joins while the other goes on."""
    logger = JournalLogger(savedir=sys.argv[2], strategy=HorovodStrategy(), run_id="trained")
    with logger.start_logging():
        for step in range(3):
            user_trains(1)
            logger.log_metrics({"loss": 1.0 + 2 * hvd.rank() + step}, step=step, reduce="mean")
        for _ in range(50 * hvd.rank()):
            reduced(torch.ones(3), name="gradient")
        hvd.join()


TRIALS = (promises, some_ranks_alone, late, left_open, without_server, exit_early, shut_down, log)


def main() -> None:
    strategy = HorovodStrategy()
    assert not strategy.ready()
    assert initialised_place() is None
    assert strategy.place().launcher == "horovod"
    hvd.init()
    assert strategy.ready()
    rank = hvd.rank()
    trials = {trial.__name__: trial for trial in TRIALS}
    for name in sys.argv[1].split(","):
        trials[name]()
        print(f"rank {rank}: {name} ok", flush=True)


if __name__ == "__main__":
    main()
