"""Trainings of which each has another call on ranklog's files fail, while they open and write files of their own.

One run for the first call of a kind, one for the second, and so on until none is left; see `test_each_call`. Prints
what each run met, a line of JSON per run.
"""

import ctypes
import itertools
import json
import os
import sys
import warnings
from pathlib import Path

from ranklog import CSVLogger
from ranklog.model.errors import RanklogWarning

STEPS = 6
LARGE = 40 * 1024


def train(logger: CSVLogger, own: Path, fault: Path) -> list[bool]:
    """Log, flush while the call fails, flush again when the disk is well; the answers of `flush`."""
    files = []
    flushed = []
    logger.create_logger_context()
    fault.touch()
    for step in range(STEPS):
        file = (own / f"checkpoint-{step}").open("ab", buffering=0)
        file.write(b"first")
        files.append(file)
        logger.log(float(step), "loss", step=step)
        if step == 1:
            logger.log(os.urandom(LARGE), "weights.bin", kind="artifact", step=step)
        if step % 2:
            flushed.append(logger.flush(30))
    fault.unlink()
    flushed.append(logger.flush(30))
    logger.destroy_logger_context(exit_timeout=30)
    for file in files:
        file.write(b"second")
        file.close()
    return flushed


def main(root: Path) -> None:
    library = ctypes.CDLL(None)
    fault = Path(os.environ["FAULT_WHILE"])
    for skip in itertools.count():
        own = root / "own" / str(skip)
        own.mkdir(parents=True)
        os.environ["FAULT_SKIP"] = str(skip)
        os.environ["FAULT_OWN"] = str(own)
        library.fail_calls_recount()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            logger = CSVLogger(root / "logs", run_id=f"run-{skip}", forward="thread")
            flushed = train(logger, own, fault)
        texts = [str(each.message) for each in told if issubclass(each.category, RanklogWarning)]
        struck = library.fail_calls_recount() > skip
        print(json.dumps({"skip": skip, "flushed": flushed, "told": texts, "struck": struck}), flush=True)
        if not struck:
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]))
