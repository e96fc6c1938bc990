"""A training that is requeued: goes on from its checkpoint, which lags behind what was logged; see `test_slurm`."""

import signal
import sys
import time
from pathlib import Path

from ranklog import JournalLogger

STEPS = 40
REQUEUES = 3


def main(folder: Path) -> None:
    checkpoint = folder / "checkpoint"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    attempt = len(list(folder.glob("left-*")))
    logger = JournalLogger(folder)
    with logger.start_logging():
        left = logger.time_left()
        logger.log(-1.0 if left is None else left, "time_left", step=attempt)
        now = first

        def save() -> None:
            checkpoint.write_text(str(now - 5))

        logger.on_preempt(save)
        last = STEPS if attempt >= REQUEUES else first + 12
        for now in range(first, last):
            logger.log(float(attempt), "loss", step=now)
        if attempt < REQUEUES:
            (folder / f"left-{attempt}").touch()
            signal.pause()
            time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
