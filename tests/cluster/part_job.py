"""One of several trainings in a Slurm job: logs a few steps per attempt, then waits until a file says how to end."""

import os
import sys
import time
from pathlib import Path

from ranklog import JournalLogger, place

STEPS_PER_ATTEMPT = 3
REQUEUE = 99
"""Exit status that requests a requeue from slurm/requeue.sbatch."""


def main(folder: Path, name: str) -> None:
    attempt = place().attempt
    logger = JournalLogger(folder / "runs")
    with logger.start_logging():
        logger.save_hyperparameters({"name": name})
        first = attempt * STEPS_PER_ATTEMPT
        for step in range(first, first + STEPS_PER_ATTEMPT):
            logger.log(float(attempt), "loss", step=step)
        logger.flush()
        if place().is_main:  # another rank may come here before rank 0 has opened the run
            (folder / f"logged-{name}-{attempt}").write_text(os.environ["SLURM_JOB_ID"])
        while not (folder / f"finish-{name}").exists():
            if attempt == 0 and (folder / f"requeue-{name}").exists():
                sys.exit(REQUEUE)
            time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ.get("PART") or os.environ["SLURM_ARRAY_TASK_ID"])
