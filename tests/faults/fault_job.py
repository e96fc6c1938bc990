"""A training that flushes while its disk refuses, and logs on; see `test_fail_calls`. Prints what it met as JSON.

The fault begins when the run is open, or before with ``FAULT_EARLY``. Nothing here waits by time: a flush has the calls
made that are to fail.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

from ranklog import JournalLogger
from ranklog.model.errors import RanklogWarning

STEPS = 300
FLUSH_EVERY = 30
ITEMS_AT = (40, 200)


def log_large(logger: JournalLogger, step: int) -> None:
    """What is copied to the run directory while it is logged: a file above 4 MiB, and a model."""
    import torch

    path = Path(os.environ["FAULT_LARGE"])
    path.write_bytes(bytes(5 * 2**20))
    logger.log(path, f"large-{step}", kind="artifact", step=step)
    logger.log(torch.nn.Linear(2, 2), f"model-{step}", kind="model", step=step)


def main(savedir: Path, lifts: bool) -> None:
    fault = Path(os.environ["FAULT_WHILE"])
    logger = JournalLogger(savedir, run_id="refused")
    raised: list[str] = []
    flushed: list[bool] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if "FAULT_EARLY" in os.environ:
            fault.touch()
        logger.create_logger_context()
        fault.touch()
        for step in range(STEPS):
            if step == STEPS // 2 and lifts:
                fault.unlink()
            try:
                if step == 0:
                    logger.save_hyperparameters({"lr": 0.1, "net": {"depth": 3}})
                logger.log(float(step), "loss", step=step)
                if step in ITEMS_AT:
                    logger.log(f"text-{step}", "words", kind="text", step=step)
                    logger.log(bytes([step]) * (100 * 1024), "weights.bin", kind="artifact", step=step)
                if "FAULT_LARGE" in os.environ and step in ITEMS_AT:
                    log_large(logger, step)
                if step % FLUSH_EVERY == FLUSH_EVERY - 1:
                    flushed.append(logger.flush(5))
            except Exception as error:
                raised.append(repr(error))
        began = time.monotonic()
        logger.destroy_logger_context(exit_timeout=5)
        closed_s = time.monotonic() - began
    ours = [str(each.message) for each in told if issubclass(each.category, RanklogWarning)]
    print(json.dumps({"raised": raised, "flushed": flushed, "told": ours, "closed_s": closed_s}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "lifts")
