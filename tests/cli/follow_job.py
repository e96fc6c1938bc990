"""A training that logs one step per line on standard input; see `test_sync`."""

import sys

from ranklog import LoggersCollection, MLFlowLogger, TensorBoardLogger


def main(savedir: str, run_id: str) -> None:
    logger = LoggersCollection(
        [
            MLFlowLogger(savedir, forward="later", run_id=run_id),
            TensorBoardLogger(savedir, forward="later", run_id=run_id),
        ]
    )
    with logger.start_logging():
        print("started", flush=True)
        for step, _ in enumerate(sys.stdin):
            logger.log(float(step), "loss", step=step)
            logger.flush()
            print(step, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
