"""One training of several in a Slurm job: reports its place, and logs until a file of its name allows it to finish."""

import os
import sys
import time
from pathlib import Path

from ranklog import JournalLogger, place

STEPS_PER_ATTEMPT = 3


def main(folder: Path, name: str) -> None:
    rank = place()
    logger = JournalLogger(folder / "runs")
    with logger.start_logging():
        logger.save_hyperparameters({"name": name})
        first = rank.attempt * STEPS_PER_ATTEMPT
        for step in range(first, first + STEPS_PER_ATTEMPT):
            logger.log(float(rank.attempt), "loss", step=step)
        logger.flush()
        (folder / f"logged-{name}-{rank.attempt}").write_text(os.environ["SLURM_JOB_ID"])
        while not (folder / f"finish-{name}").exists():
            time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
