"""A training whose disk refuses for a while; see `test_fail_calls`. Prints what it met as JSON."""

import json
import os
import sys
import time
import warnings
from pathlib import Path

from ranklog import JournalLogger
from ranklog.model.errors import RanklogWarning

STEPS = 200


def main(savedir: Path, lifts: bool) -> None:
    fault = Path(os.environ["FAULT_WHILE"])
    logger = JournalLogger(savedir, run_id="refused")
    raised: list[str] = []
    flushed: list[bool] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        logger.create_logger_context()
        fault.touch()
        for step in range(STEPS):
            if step == STEPS // 2:
                flushed.append(logger.flush(5))
                if lifts:
                    fault.unlink()
            try:
                logger.log(float(step), "loss", step=step)
                if step % 50 == 10:
                    logger.log("words", f"text-{step}", kind="text", step=step)
                    logger.log(bytes(100 * 1024), f"big-{step}.bin", kind="artifact", step=step)
            except Exception as error:
                raised.append(repr(error))
            if step % 40 == 0:
                # So that the threads beside meet the fault several times.
                time.sleep(0.15)
        flushed.append(logger.flush(5))
        logger.destroy_logger_context(exit_timeout=5)
    ours = [str(each.message) for each in told if issubclass(each.category, RanklogWarning)]
    print(json.dumps({"raised": raised, "flushed": flushed, "told": ours}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "lifts")
