"""A training with secrets in its arguments, environment and URLs; prints the command lines of its children."""

import os
import subprocess
import sys
from pathlib import Path

from ranklog import ConsoleLogger, LoggersCollection, MLFlowLogger, TensorBoardLogger, WandBLogger


def main(savedir: str, uri: str) -> None:
    logger = LoggersCollection(
        [
            MLFlowLogger(savedir, tracking_uri=uri),
            TensorBoardLogger(savedir),
            WandBLogger(savedir, project_name="p", offline_mode=True),
            ConsoleLogger(savedir),
        ]
    )
    with logger.start_logging(exit_timeout=5):
        logger.save_hyperparameters({"lr": 0.1})
        for step in range(20):
            logger.log(float(step), "loss", step=step)
        logger.wait_delivered(5)
        listing = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
        mine = [line for line in listing.splitlines() if line.split()[0] == str(os.getpid())]
        Path(savedir, "children.txt").write_text("\n".join(mine))
        assert any("ranklog.delivery" in line for line in mine), mine
        print(os.environ["SOME_PASSWORD"], "is printed by the program itself", file=sys.stderr)
        if "--fail" in sys.argv:
            raise ValueError("it failed")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
