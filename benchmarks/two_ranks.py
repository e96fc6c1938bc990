"""Fifty metrics per step, reduced over two ranks by ranklog and by torch.distributed directly.

torchrun --standalone --nproc-per-node 2 -m benchmarks.two_ranks OUT.json
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec
import torch
import torch.distributed as dist

from benchmarks.timing import Timing, measure

VALUES = {f"train/metric_{i}": 0.5 for i in range(50)}


def direct(name: str, each: bool) -> Timing:
    def step(_: int) -> None:
        if each:
            for value in VALUES.values():
                dist.all_reduce(torch.tensor(value, dtype=torch.float64))
        else:
            dist.all_reduce(torch.tensor(list(VALUES.values()), dtype=torch.float64))

    return measure(name, step, 100 if each else 1_000)


def ranklog_reduced(folder: str, pause_s: float) -> Timing:
    import time

    from ranklog import JournalLogger

    logger = JournalLogger(folder, log_freq="batch")
    logger.create_logger_context()
    clock = time.perf_counter

    def step(i: int) -> None:
        logger.log_metrics(VALUES, step=i, batch_idx=i, reduce="mean")

    if not pause_s:
        return measure("ranklog log_metrics, 50 reduced, no pause", step, 5_000, logger.destroy_logger_context)
    times = []
    for i in range(300):
        end = clock() + pause_s
        while clock() < end:
            torch.ones(64, 64) @ torch.ones(64, 64)
        start = clock()
        step(i)
        times.append((clock() - start) * 1e6)
    start = clock()
    logger.destroy_logger_context()
    close_s = clock() - start
    times.sort()
    return Timing(
        f"ranklog log_metrics, 50 reduced, {pause_s * 1e3:g} ms of work between steps",
        len(times), times[len(times) // 2], times[len(times) * 99 // 100], sum(times) / len(times), close_s,
    )  # fmt: skip


def main(out: str) -> None:
    dist.init_process_group("gloo")
    folders = [tempfile.mkdtemp() if dist.get_rank() == 0 else ""]
    dist.broadcast_object_list(folders)
    timings = [
        direct("torch.distributed.all_reduce, 50 calls", each=True),
        direct("torch.distributed.all_reduce, one of 50 values", each=False),
        ranklog_reduced(folders[0], 0.0),
        ranklog_reduced(folders[0], 0.01),
    ]
    if dist.get_rank() == 0:
        Path(out).write_bytes(msgspec.json.encode(timings))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
