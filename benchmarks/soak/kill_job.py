"""Trainings that `benchmarks.soak.kills` kills, forked one after the other from a process with all imports.

python -m benchmarks.soak.kill_job SAVEDIR

Each line on standard input is the first step of a training. One child logs from this step on and flushes at intervals.
It prints ``flushed STEP`` when a flush was acknowledged. The parent prints ``started PID`` and ``gone``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ranklog.pipeline.session
import ranklog.reduce.round  # noqa: F401 - imported before the fork, so that a child starts at once
from ranklog import LoggersCollection, MLFlowLogger, TensorBoardLogger

RUN_ID = "killed"
FLUSH_EVERY = 7


def train(savedir: Path, first: int) -> None:
    """Log until killed."""
    logger = LoggersCollection(
        [
            MLFlowLogger(savedir, forward="later", run_id=RUN_ID),
            TensorBoardLogger(savedir, forward="later", run_id=RUN_ID),
        ]
    )
    logger.create_logger_context()
    step = first
    while True:
        logger.log(float(step), "loss", step=step)
        logger.log_metrics({"acc": step / 2}, step=step, reduce="mean")
        step += 1
        if step % FLUSH_EVERY == 0 and logger.flush():
            os.write(1, f"flushed {step - 1}\n".encode())


def main() -> None:
    """Fork one training per line."""
    savedir = Path(sys.argv[1])
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            train(savedir, int(line))
        os.write(1, f"started {pid}\n".encode())
        os.waitpid(pid, 0)
        os.write(1, b"gone\n")


if __name__ == "__main__":
    main()
