"""One rank that logs awkward values in awkward ways: ``values_job.py RUNTIME SAVEDIR``."""

import functools
import math
import sys
import warnings

import joined
import torch

from ranklog.loggers import JournalLogger, create_logger
from ranklog.model.errors import NotStartedError, RanklogWarning


def log_values(rank: int, size: int, savedir: str) -> None:
    opened_on_rank_zero_only(rank, f"{savedir}/alone")
    logger = JournalLogger(savedir=savedir, log_freq="batch", run_id="values")
    try:
        logger.log(1.0, "early")
    except NotStartedError:
        pass
    else:
        raise AssertionError("it was not started")
    logger.create_logger_context()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logger.create_logger_context()
    assert any("logging is already on" in str(each.message) for each in caught if each.category is RanklogWarning)

    values = {
        "nan": math.nan if rank == 1 else float(rank),
        "inf": -math.inf if rank == 0 else float(rank),
        "big": 2**53 + 2 * rank,
        "flag": rank == 0,
        "half": torch.tensor(0.1, dtype=torch.float16),
        "brain": torch.tensor(0.3, dtype=torch.bfloat16),
        "tiny": 1e-300 * (rank + 1),
    }
    logger.log_metrics(values, step=0, reduce="mean")
    logger.log(float(rank), "weighted", step=1, reduce="mean", weight=rank + 1)
    logger.log(float(rank), "zero", step=1, reduce="mean", weight=0 if rank == 0 else 1)
    logger.log(float(rank), "nothing", step=1, reduce="mean", weight=0)
    if rank == 1:
        logger.log(7.0, "lonely", step=2, reduce="mean")
    for name in ("a", "b", "c") if rank % 2 else ("c", "b", "a"):
        logger.log(ord(name) + rank, name, step=3, reduce="sum")
    for op in ("std", "min", "max", "median", "stats"):
        logger.log((rank - 1.0) ** 3, f"op_{op}", step=4, reduce=op)
    for step in range(10 * rank, 10 * rank + 20):
        logger.log(float(rank), "shifted", step=step, reduce="mean")
    logger.log(float(rank), "each", step=5, reduce="per_rank")
    assert logger.reduce_now(float(rank), "max") == size - 1
    logger.destroy_logger_context()
    try:
        logger.log(1.0, "late")
    except NotStartedError:
        print(f"rank {rank} has closed", flush=True)


def opened_on_rank_zero_only(rank: int, savedir: str) -> None:
    if rank == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logger = create_logger("journal", savedir=savedir, experiment="alone", run_id="alone")
            with logger.start_logging(exit_timeout=3.0):
                logger.log(1.0, "loss", step=0, reduce="mean")


if __name__ == "__main__":
    name, where = sys.argv[1:]
    joined.run(name, functools.partial(log_values, savedir=where))
