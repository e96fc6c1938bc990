"""One rank of a job whose last rank stops until values go on without it: ``healing_job.py SAVEDIR``.

Training is not synchronised: the other ranks log on meanwhile, until the journal has new values of all ranks.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joined

from ranklog.loggers import JournalLogger
from ranklog.model.record import Metrics
from ranklog.testing import captured

PATIENCE_S = 40.0


def contributed(run_dir: Path) -> list[int]:
    """For each value in the journal, in its order, from how many ranks it is."""
    found = (r for r in captured(run_dir) if isinstance(r, Metrics) and "who" in r.values)
    return [r.coverage.contributed for r in found if r.coverage is not None]


def log_on(rank: int, size: int, savedir: str) -> None:
    logger = JournalLogger(savedir=savedir, log_freq="batch", run_id="healing")
    end_s = time.monotonic() + PATIENCE_S
    partial, over = Path(savedir) / "partial", Path(savedir) / "over"
    with logger.start_logging(exit_timeout=30.0):
        step = 0
        while not over.exists():
            assert time.monotonic() < end_s, contributed(logger.run_dir)
            logger.log(float(10**rank), "who", step=step, batch_idx=step, reduce="sum")
            logger.log(float(step), "own", step=step, batch_idx=step, reduce="per_rank")
            step += 1
            time.sleep(0.05)
            if step == 5 and rank == size - 1:
                logger.flush()
                stop_until(partial)
            if rank == 0 and step % 10 == 0:
                seen = contributed(logger.run_dir)
                if size - 1 in seen:
                    partial.touch()
                    if size in seen[seen.index(size - 1) :]:
                        over.touch()
        (Path(savedir) / f"steps-{rank}").write_text(str(step))


def stop_until(path: Path) -> None:
    wake = f"for i in $(seq 300); do ls '{path}' >/dev/null 2>&1 && break; sleep 0.2; done; kill -CONT {os.getpid()}"
    waking = subprocess.Popen(["sh", "-c", wake], start_new_session=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    waking.wait()


if __name__ == "__main__":
    joined.run("torch", lambda rank, size: log_on(rank, size, sys.argv[1]))
