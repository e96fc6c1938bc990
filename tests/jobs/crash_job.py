"""A training that ends badly; see `test_blackbox`."""

import os
import signal
import sys

from ranklog import JournalLogger


def fail(rank: int) -> None:
    for step in range(3):
        print(f"rank {rank} is at step {step} with key {os.environ['MY_API_KEY']}")
    print("\r  1%", end="")
    print("\r 99%")
    print("a word on standard error", file=sys.stderr)


def block(logger: JournalLogger) -> None:
    with logger.start_logging():
        logger.log(0.5, "loss", step=7)
        fail(0)
        raise ValueError("the weights are gone")


def bare(logger: JournalLogger) -> None:
    logger.create_logger_context()
    logger.log(0.5, "loss", step=7)
    fail(0)
    raise ValueError("the weights are gone")


def sigterm(logger: JournalLogger) -> None:
    logger.create_logger_context()
    logger.log(0.5, "loss", step=7)
    fail(0)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def ranks(logger: JournalLogger) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    with logger.start_logging():
        logger.log(float(rank), "loss", step=7, reduce="mean")
        fail(rank)
        if rank == 1:
            raise ValueError("only here")


if __name__ == "__main__":
    globals()[sys.argv[1]](JournalLogger(sys.argv[2], run_id="crashed"))
