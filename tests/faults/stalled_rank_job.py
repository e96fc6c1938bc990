"""Two ranks, of which one has a disk that stalls: calls on it wait while the file FAULT_WHILE is there.

See `test_stalled_ranks`. A case says what rank 1 does. Rank 1 prints one JSON object for the time before its end. It
ends by closing the logger, or by SIGTERM, while the disk still stalls.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from ranklog import JournalLogger
from ranklog.testing import captured, series

STALL = Path(os.environ["FAULT_WHILE"])
STALLED = Path(os.environ["FAULT_STALL"])
LARGE = 5 * 2**20
STEPS = 2000


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.005)


def train(logger: JournalLogger, first: int) -> None:
    """Log some steps; a call that waited for the disk would not return."""
    for step in range(first, first + STEPS):
        logger.log(float(step), "loss", step=step)


def stall_contents(logger: JournalLogger, run_dir: Path) -> dict[str, object]:
    """A large file stalls in the background, then contents of an item in the drain thread."""
    file = run_dir.parents[2] / "large"
    file.write_bytes(bytes(LARGE))
    STALL.touch()
    logger.log(str(file), "large", kind="artifact", step=0)
    wait_until(STALLED.exists)
    train(logger, 0)
    behind_file = logger.flush(1)
    wait_until((run_dir.parents[2] / "arrived").exists)  # this process cannot look into the journal
    STALLED.unlink()
    logger.log(os.urandom(100_000), "contents", kind="artifact", step=0)
    wait_until(STALLED.exists)
    train(logger, STEPS)
    return {"behind a file": behind_file, "behind contents": logger.flush(1)}


def stall_spill_file(logger: JournalLogger, run_dir: Path) -> dict[str, object]:
    """Rank 0 is gone, and the spill file stalls."""
    STALL.touch()
    (run_dir.parents[2] / "leave").touch()
    step = 0
    while not STALLED.exists():
        logger.log(1.0, "mean", step=step, reduce="mean")
        time.sleep(0.02)
        step += 1
    train(logger, 0)
    return {"behind the spill file": logger.flush(1)}


def stall_rank_0(logger: JournalLogger, run_dir: Path) -> dict[str, object]:
    """The disk of rank 0 stalls."""
    STALL.touch()
    wait_until(STALLED.exists)
    train(logger, 0)
    return {"behind the journal": logger.flush(1)}


CASES = {"contents": stall_contents, "spill": stall_spill_file, "rank 0": stall_rank_0}


def follow(case: str, logger: JournalLogger, run_dir: Path) -> None:
    """Be rank 0."""
    root, step = run_dir.parents[2], 0
    while not (root / "leave").exists():
        logger.log(0.0, "mean", step=step, reduce="mean")
        logger.log(float(step), "beside", step=step)
        if case == "contents" and step % 10 == 0 and len(series(captured(run_dir), "loss/rank_001")) >= STEPS:
            (root / "arrived").touch()
        time.sleep(0.02)
        step += 1
    if case == "spill":
        os._exit(0)
    logger.destroy_logger_context(exit_timeout=3)


def main(case: str, ending: str, savedir: Path) -> None:
    dist.init_process_group("gloo")
    rank, run_dir = dist.get_rank(), savedir / "runs" / "stalled"
    logger = JournalLogger(savedir, run_id="stalled", log_on_workers=-1)
    logger.create_logger_context()
    logger.log(0.0, "before", step=0, reduce="mean")
    assert logger.flush()
    dist.barrier()
    if rank == 0:
        follow(case, logger, run_dir)
        return
    flushed = CASES[case](logger, run_dir)
    print(json.dumps({"flushed": flushed, "stalled": STALL.exists()}), flush=True)
    if ending == "sigterm":
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    logger.destroy_logger_context(exit_timeout=3)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
