"""A process that ends while a collective with another rank is under way; the other rank answers just then.

See `test_worlds`. Both ranks are in this process. The answer comes before the interpreter counts as ending, and gloo's
thread wants the interpreter's lock, which it gets only when it is too late.
"""

import atexit
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.distributed as dist

from ranklog.model.errors import WorldError
from ranklog.world.shutdown import PROCESS_ENDING
from ranklog.world.torch.gloo import GlooGroup, _keep

ANSWER_S = 1.0
TEARDOWN_S = 2.0


class Teardown:
    """Spends time without the lock when modules are torn down."""

    def __init__(self) -> None:
        self._sleep = time.sleep

    def __del__(self) -> None:
        self._sleep(TEARDOWN_S)


def be_rank_1(group: GlooGroup) -> None:
    try:
        group.all_reduce(np.ones(1), "sum", 60.0)
    except WorldError as error:
        print(error, flush=True)
    group.close()


def answer() -> None:
    options = dist.distributed_c10d.AllreduceOptions()
    options.reduceOp = dist.ReduceOp.SUM
    work = groups[0]._group.allreduce([torch.ones(1, dtype=torch.float64)], options)
    _keep(work)
    sys.setswitchinterval(100.0)  # from here on this thread keeps the lock
    end_s = time.monotonic() + ANSWER_S
    while not work.is_completed() or time.monotonic() < end_s:
        pass


store = dist.HashStore()
with ThreadPoolExecutor(2) as pool:
    groups = list(pool.map(lambda rank: GlooGroup(store, [0, 1], rank, 30.0), range(2)))
reducer = threading.Thread(target=be_rank_1, args=(groups.pop(),))
reducer.start()
PROCESS_ENDING.set()
reducer.join()
_teardown = Teardown()
atexit.register(answer)
