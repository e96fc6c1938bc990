"""One rank of a real job: runs every case one after the other and writes what rank 0 would journal as JSON.

Started once for each rank with torchrun's variables; the argument is the file that rank 0 writes. While the rounds
run in their thread, the main thread uses the default group itself.
"""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
import torch.distributed as dist

from ranklog.abc import World
from ranklog.model.errors import WorldError
from ranklog.model.record import Record
from ranklog.reduce.buffer import Buffer
from ranklog.reduce.reduce_now import reduce_now
from ranklog.reduce.round import Rounds
from ranklog.world.single import SeveredWorld
from ranklog.world.strategies import resolve_strategy

Case = Callable[[Buffer, int, int], None]
ROUND_LIMIT_S = 20.0


def log(buffer: Buffer, step: int, op: str = "mean", weight: float = 1.0, **values: float) -> None:
    buffer.add(values, step=step, op=op, to=-1, time_ns=step, weight=weight)


def equal(buffer: Buffer, rank: int, size: int) -> None:
    for step in range(200):
        log(buffer, step, loss=float(rank + step), acc=rank / size)
        log(buffer, step, op="stats", time=float(rank))
        log(buffer, step, op="sum", seen=float(2**53 - size if rank == 0 else 1))
        log(buffer, step, op="std", weight=rank + 1.0, spread=float(rank))


def different_keys(buffer: Buffer, rank: int, size: int) -> None:
    for step in range(50):
        log(buffer, step, loss=float(rank))
        log(buffer, step, **{f"only_{rank}": float(step)})


def different_order(buffer: Buffer, rank: int, size: int) -> None:
    names = ["a", "b", "c"]
    for step in range(50):
        for name in names if rank % 2 else reversed(names):
            log(buffer, step, **{name: float(rank + ord(name))})


def quantiles(buffer: Buffer, rank: int, size: int) -> None:
    """Equal names at the first steps; from step 25 on also a name that only rank 0 has."""
    for step in range(50):
        for sample in range(rank + 1):
            log(buffer, step, op="median", half=float(10 * rank + sample), signed=float((-1) ** sample * (step + rank)))
            log(buffer, step, op="p99", most=float(10 * rank + sample))
        if rank == 0 and step >= 25:
            log(buffer, step, extra=1.0)


def silent_rank(buffer: Buffer, rank: int, size: int) -> None:
    if rank:
        for step in range(20):
            log(buffer, step, loss=float(rank))


def last_rank_only(buffer: Buffer, rank: int, size: int) -> None:
    if rank == size - 1:
        for step in range(20):
            log(buffer, step, loss=float(step))


def uneven(buffer: Buffer, rank: int, size: int) -> None:
    for step in range(20 + 10 * rank):
        log(buffer, step, loss=float(rank))


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (equal, different_keys, different_order, quantiles, silent_rank, last_rank_only, uneven)
}


def run_case(name: str, rank: int, size: int) -> tuple[list[Record], str | None]:
    buffer = Buffer(rank)
    ready = threading.Event()
    records: list[Record] = []
    trouble: list[str | None] = []

    def reduce() -> None:
        world = resolve_strategy("torch").connect(channel=name, timeout_s=ROUND_LIMIT_S)
        rounds = Rounds(world, buffer, run_id="run-a" if rank == 0 else None)
        while not (rounds.finished or rounds.failed):
            if ready.is_set():
                rounds.request_close()
            records.extend(rounds.step(ROUND_LIMIT_S))
            ready.wait(0.02)
        assert rounds.run_id == "run-a"
        trouble.append(rounds.failed)
        world.close()

    thread = threading.Thread(target=reduce, daemon=True)
    thread.start()
    CASES[name](buffer, rank, size)
    for index in range(200):
        mine = torch.tensor([float(rank + index)])
        dist.all_reduce(mine)
        assert mine.item() == size * index + size * (size - 1) / 2, "the user's own all_reduce is wrong"
    ready.set()
    thread.join(3 * ROUND_LIMIT_S)
    assert not thread.is_alive(), "the rounds hang"
    return records, trouble[0]


def rank_0_only(size: int) -> tuple[list[Record], str | None, float]:
    """Rounds that no other rank takes part in, with a time limit of 1 s."""
    started_s = time.monotonic()
    strategy = resolve_strategy("torch")
    try:
        world: World = strategy.connect(channel="rank-0-only", timeout_s=1.0)
    except WorldError as error:
        world = SeveredWorld(strategy.place(), str(error))
    buffer = Buffer(0)
    rounds = Rounds(world, buffer, run_id="run-a")
    log(buffer, 0, loss=1.0)
    rounds.request_close()
    return rounds.step(1.0), rounds.failed, time.monotonic() - started_s


def now(rank: int, size: int) -> dict[str, float]:
    world = resolve_strategy("auto").connect(channel="now", timeout_s=ROUND_LIMIT_S)
    out = {
        op: reduce_now(world, float(rank), op=op, timeout_s=ROUND_LIMIT_S)
        for op in ("mean", "sum", "min", "max", "std")
    }
    out |= reduce_now(world, {"a": float(rank), "b": 1.0}, op="sum", timeout_s=ROUND_LIMIT_S)
    world.close()
    return out


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    results = {name: run_case(name, rank, size) for name in CASES}
    reduced = now(rank, size)
    if rank == 0:
        alone = rank_0_only(size)
        Path(sys.argv[1]).write_bytes(msgspec.json.encode({"cases": results, "now": reduced, "alone": alone}))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
