"""The training whose journals are kept as test data: ``train.py CASE``; started by `make_journals`."""

import argparse
import importlib.metadata
import sys
import time
from pathlib import Path

CHECKPOINT = Path("checkpoint")
STEPS = 40
VERSION = "3.12.1"


def killed() -> None:
    """Logs until somebody kills it."""
    from ranklog import CSVLogger

    logger = CSVLogger(run_id="killed", experiment="digits", log_freq="batch", forward="thread")
    logger.create_logger_context()
    logger.save_hyperparameters({"lr": 0.1, "optimizer": {"name": "sgd", "momentum": 0.9}, "layers": [64, 10]})
    _train(logger, 0, 100_000)


def requeued() -> None:
    """Resumes from a checkpoint that lags behind the last step that was logged."""
    from ranklog import JournalLogger

    logger = JournalLogger(experiment="digits", log_freq="batch")
    first = int(CHECKPOINT.read_text()) if CHECKPOINT.exists() else 0
    with logger.start_logging():
        logger.log("started", "note.txt", kind="text", step=first)
        _train(logger, first, STEPS)


def damaged() -> None:
    """Logs until somebody kills it, then again; the files are damaged afterwards."""
    from ranklog import JournalLogger

    logger = JournalLogger(run_id="damaged", experiment="digits", log_freq="batch")
    logger.create_logger_context()
    logger.log(b"\x00weights\xff" * 20, "weights.bin", kind="artifact", step=0)
    _train(logger, int(CHECKPOINT.read_text()) if CHECKPOINT.exists() else 0, 100_000)


def unmerged() -> None:
    """Rank 0 is killed; rank 1 logs on, and what it logs stays in its spill file."""
    import torch

    from ranklog import JournalLogger, place

    torch.distributed.init_process_group("gloo")
    rank = place().rank
    logger = JournalLogger(run_id="unmerged", experiment="digits", log_freq="batch")
    with logger.start_logging(exit_timeout=20.0):
        for step in range(STEPS):
            if step == STEPS // 2:
                logger.flush()
                print(step, flush=True)
                if rank == 0:
                    time.sleep(600)
                while not list((logger.run_dir / "spill").glob("*-rank-00001.*")):
                    time.sleep(0.05)
            logger.log_metrics({"loss": step + rank, "grad_norm": 0.5 * rank}, step=step, batch_idx=step, reduce="mean")
            logger.log(float(rank), "own", step=step, batch_idx=step, reduce="per_rank")


def kinds() -> None:
    """Logs one item of every kind."""
    import matplotlib
    import numpy as np
    import torch

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from ranklog import CSVLogger, LoggersCollection, TensorBoardLogger

    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    batch = torch.ones(2, 4)
    figure, axes = pyplot.subplots(figsize=(0.5, 0.5))
    axes.plot([0, 1])
    Path("digits.csv").write_text("x,label\n0.5,1\n0.25,0\n")
    common = {"run_id": "kinds", "experiment": "digits", "forward": "later"}
    logger = LoggersCollection([CSVLogger(**common), TensorBoardLogger(**common)])
    with logger.start_logging():
        logger.log(0.5, "loss", step=1, goal="min", context="training")
        logger.log_metrics({"odd": float("nan"), "odder": float("inf"), "accuracy": 0.75}, step=1)
        logger.log(3, "stats", step=1, reduce="stats", weight=2.0)
        logger.save_hyperparameters(argparse.Namespace(lr=0.1, name="große Ziffern", none=None, betas=(0.9, 0.99)))
        logger.log(7, "seed", kind="param")
        logger.log("a text\nof two lines", "text", kind="text", step=1)
        logger.log({"depth": 3, "rate": float("-inf")}, "dict", kind="dict", step=1)
        logger.log((["a", "b"], [[1, "x"], [2, None]]), "table", kind="table", step=1)
        logger.log(np.arange(20.0), "histogram", kind="histogram", bins=4, step=1)
        logger.log(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8), "image", kind="image", caption="noise", step=1)
        logger.log([np.zeros((2, 2)), np.ones((2, 2))], "images", kind="image", caption=["dark", "bright"], step=1)
        logger.log(figure, "figure", kind="figure", step=1)
        logger.log(np.sin(np.arange(50.0)), "audio", kind="audio", sample_rate=8000, step=1)
        logger.log(np.zeros((2, 4, 4, 3), np.uint8), "video", kind="video", fps=2, step=1)
        logger.log("<b>bold</b>", "html", kind="html", step=1)
        logger.log(b"\x00\x01", "small.bin", kind="artifact", step=1)
        logger.log(b"large " * 6000, "large.bin", kind="artifact", step=1)
        logger.log("digits.csv", "digits", kind="dataset", step=1)
        logger.log({"w": torch.ones(2)}, "tensors", kind="torch", step=1)
        logger.log(net, "model", kind="model", step=1)
        logger.log(net, "best", kind="best_model", step=2)
        logger.log(net, "graph", kind="graph", input_example=batch, step=1)
        logger.log(np.eye(3), "embedding", kind="embedding", metadata=["a", "b", "c"], step=1)
        logger.log(([0, 1, 1], [0.2, 0.7, 0.4]), "pr", kind="pr_curve", num_thresholds=5, step=1)
        logger.log("loss is NaN", "trouble", kind="alert", level="error", step=1)
        logger.log((net, batch), "flops", kind="flops_pb", step=1)
        logger.log((net, [batch]), "flops/epoch", kind="flops_pe", step=1)
        logger.log(None, None, kind="execution_time", step=1)
        logger.log(None, None, kind="prov_documents", step=1)
        logger.log(None, None, kind="system", step=1)
        logger.log(net, "watched", kind="watch", log="all", log_freq=1, bins=4)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(batch).sum().backward()
        optimizer.step()
        logger.flush()


def _train(logger, first: int, last: int) -> None:  # type: ignore[no-untyped-def]
    for step in range(first, last):
        logger.log(1 / (step + 1), "loss", step=step, batch_idx=step)
        logger.log_metrics({"accuracy": 1 - 1 / (step + 1), "epoch": step // 10}, step=step, batch_idx=step)
        if step % 5 == 4:
            logger.flush()
            print(step, flush=True)
            time.sleep(0.05)


if __name__ == "__main__":
    sys.version = f"{VERSION} (made up)"
    installed = importlib.metadata.version
    importlib.metadata.version = lambda name: "1.2.3" if installed(name) else ""
    globals()[sys.argv[1]]()
