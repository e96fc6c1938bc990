"""One rank of a job in which the last rank does something wrong at the middle: ``fault_job.py CASE SAVEDIR``."""

import os
import signal
import sys
import time

import torch.distributed as dist

from ranklog.loggers import JournalLogger

STEPS = 60
MIDDLE = 30


def main(case: str, savedir: str) -> None:
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    logger = JournalLogger(savedir=savedir, log_freq="batch", run_id="faulty")
    wrong = rank == size - 1
    with logger.start_logging(exit_timeout=25.0):
        if case == "late" and wrong:
            time.sleep(5)
        for step in range(STEPS):
            if step == MIDDLE:
                logger.flush()
                if wrong:
                    misbehave(case)
                    if case == "early":
                        break
                elif case in ("killed", "stopped"):
                    wait_for_break(logger)
            logger.log_metrics({"loss": rank + step, "worst": float(rank)}, step=step, batch_idx=step, reduce="mean")
            logger.log(step, "own", step=step, batch_idx=step, reduce="per_rank")
    if not wrong or case != "stopped":
        # The store lives in rank 0: it must outlive what the others ask it.
        print(f"rank {rank} has closed", flush=True)


def misbehave(case: str) -> None:
    if case == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if case == "raises":
        raise RuntimeError("out of luck")


def wait_for_break(logger: JournalLogger) -> None:
    """Go on once this rank has noticed that the ranks can no longer talk: it has begun its spill file."""
    end_s = time.monotonic() + 60
    mine = f"-rank-{int(os.environ['RANK']):05d}.rlj.open"
    while not any(path.name.endswith(mine) for path in (logger.run_dir / "spill").glob("*")):
        assert time.monotonic() < end_s, "the break was not noticed"
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
