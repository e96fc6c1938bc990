"""Log one point per step to MLflow, from a first step on: ``SAVEDIR RUN FIRST LAST TRACKING_URI``."""

from __future__ import annotations

import sys

from ranklog import MLFlowLogger

savedir, run, first, last, tracking_uri = sys.argv[1:]
logger = MLFlowLogger(savedir, "pair", tracking_uri=tracking_uri, run_id=run, log_freq="batch")
logger.create_logger_context()
for step in range(int(first), int(last)):
    logger.log(float(step), "loss", kind="metric", step=step)
    if step % 20 == 0:
        logger.flush(60)
logger.destroy_logger_context(exit_timeout=150)
