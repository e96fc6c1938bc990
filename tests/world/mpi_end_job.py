"""One rank of an MPI job that ends early: ``python mpi_end_job.py CASE SAVEDIR``.

CASE is killed, aborted or stopped: the last rank is killed, it aborts the job, or the test ends the launcher.
"""

import os
import signal
import sys
from pathlib import Path

from ranklog.loggers import CSVLogger

RUN_ID = "ended"
ACKNOWLEDGED = 20
LOGGED = 2 * ACKNOWLEDGED
LIMIT_S = 60.0


def main(case: str, savedir: Path) -> None:
    from mpi4py import MPI  # not in the test, which imports the constants

    ranks = MPI.COMM_WORLD
    rank, last = ranks.Get_rank(), ranks.Get_size() - 1
    logger = CSVLogger(savedir, strategy="mpi", run_id=RUN_ID)
    logger.create_logger_context()
    for step in range(LOGGED):
        if step == ACKNOWLEDGED:
            assert logger.flush(LIMIT_S)
            ranks.Barrier()
        logger.log(float(step + rank), "mean", step=step, reduce="mean")
        logger.log(float(step), "own", step=step)
    ranks.Barrier()
    print(f"rank {rank} is ready", flush=True)
    if rank == last and case == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == last and case == "aborted":
        ranks.Abort(3)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
