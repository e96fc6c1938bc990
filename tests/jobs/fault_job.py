"""One rank of a job whose last rank does something wrong at the middle: ``fault_job.py RUNTIME CASE SAVEDIR``."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joined

from ranklog.loggers import JournalLogger

STEPS = 60
MIDDLE = 30


def log_on(rank: int, size: int, case: str, savedir: str) -> None:
    logger = JournalLogger(savedir=savedir, log_freq="batch", run_id="faulty")
    wrong = rank == size - 1
    late_s = float(os.environ["LATE_S"]) if case == "late" else 0.0
    with logger.start_logging(exit_timeout=15.0 + 2 * late_s):
        if wrong:
            time.sleep(late_s)
        for step in range(STEPS):
            if step == MIDDLE:
                logger.flush()
                if wrong:
                    misbehave(case, logger.run_dir)
                    if case == "early":
                        break
                elif case in ("killed", "stopped", "stopped-for-a-while"):
                    wait_for_break(logger)
            logger.log_metrics({"loss": rank + step, "worst": float(rank)}, step=step, batch_idx=step, reduce="mean")
            logger.log(step, "own", step=step, batch_idx=step, reduce="per_rank")


def misbehave(case: str, run_dir: str | Path) -> None:
    if case == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if case == "stopped-for-a-while":
        # Rank 0 has noticed once it has a spill file.
        noticed = f"ls '{run_dir}'/spill/*-rank-00000.* >/dev/null 2>&1"
        wake = f"for i in $(seq 300); do {noticed} && break; sleep 0.2; done; kill -CONT {os.getpid()}"
        waking = subprocess.Popen(["sh", "-c", wake], start_new_session=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        # Of a process with threads it is the main one that is stopped first: this one, under Ray, goes on meanwhile.
        waking.wait()
    if case == "raises":
        raise RuntimeError("out of luck")


def wait_for_break(logger: JournalLogger) -> None:
    """Go on once rank 0 has noticed that a rank does not answer: it has begun its spill file."""
    end_s = time.monotonic() + 60
    while not any("-rank-00000." in path.name for path in (logger.run_dir / "spill").glob("*")):
        assert time.monotonic() < end_s, "the break was not noticed"
        time.sleep(0.05)


if __name__ == "__main__":
    name, what, where = sys.argv[1:]
    joined.run(name, functools.partial(log_on, case=what, savedir=where))
