"""One rank of a torch job that checks a torch world's promises and prints a line for each."""

import time

import numpy as np
import torch.distributed as dist
from conformance import CHECKS

from ranklog.model.errors import WorldError
from ranklog.world.strategies import resolve_strategy


def fails_in_time(call: object, limit_s: float, part: str) -> None:
    assert callable(call)
    started_s = time.monotonic()
    try:
        call()
    except WorldError as error:
        assert part in str(error), error
    else:
        raise AssertionError("no WorldError")
    assert time.monotonic() - started_s < limit_s + 10


def main() -> None:
    strategy = resolve_strategy("torch")
    assert not strategy.ready()
    assert strategy.place().launcher == "torchrun"
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    assert strategy.ready()
    assert (strategy.place().rank, strategy.place().world_size) == (rank, size)
    world = strategy.connect(channel="conformance", timeout_s=30)
    for name, check in CHECKS.items():
        check(world)
        print(f"{name}: ok", flush=True)

    # Only rank 0 opens this one; the others go on undisturbed.
    if rank == 0:
        for _ in range(2):
            fails_in_time(lambda: strategy.connect(channel="alone", timeout_s=0.3), 0.3, f"{size - 1} of {size} ranks")
    print("absent rank: ok", flush=True)
    dist.barrier()

    # Rank 0 makes a call that the others do not make.
    if rank == 0:
        fails_in_time(lambda: world.all_reduce(np.ones(1), op="sum", timeout_s=0.5), 0.5, "rank 0")
        fails_in_time(lambda: world.barrier(timeout_s=0.5), 0.5, "rank 0")
    print("time limit: ok", flush=True)
    dist.barrier()
    world.close()
    world.close()
    fails_in_time(lambda: world.barrier(timeout_s=0.5), 0.5, "closed")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
