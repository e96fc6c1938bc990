"""Training with three backends, whose forwarder `benchmarks.soak.kill_forwarder` kills. Prints one line per fact.

python -m benchmarks.soak.forwarder_job SAVEDIR TRACKING_URI STEPS
"""

from __future__ import annotations

import json
import sys
import time

from ranklog import LoggersCollection, MLFlowLogger, TensorBoardLogger, WandBLogger
from ranklog.forwarding import supervisor

PAUSE_S = 0.005


def main(savedir: str, tracking_uri: str, steps: int) -> None:
    """Log ``steps`` steps. The limits for restarting a forwarder are those of a long run, scaled down."""
    supervisor.CHECK_EVERY_S = 0.1
    supervisor.RESTART_EVERY_S = 0.5
    logger = LoggersCollection(
        [
            MLFlowLogger(savedir, tracking_uri=tracking_uri, run_id="beside"),
            TensorBoardLogger(savedir, run_id="beside"),
            WandBLogger(savedir, project_name="p", offline_mode=True, run_id="beside"),
        ]
    )
    longest_s = 0.0
    with logger.start_logging(exit_timeout=5):
        print("started", flush=True)
        for step in range(steps):
            before_s = time.perf_counter()
            logger.log(float(step), "loss", step=step)
            longest_s = max(longest_s, time.perf_counter() - before_s)
            time.sleep(PAUSE_S)
    print(json.dumps({"longest_log_s": longest_s}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
