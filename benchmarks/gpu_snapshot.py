"""Cost of `log` and `log_metrics` in the training thread for scalars on a CUDA device.

python -m benchmarks.gpu_snapshot
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.timing import Timing, measure


def one_scalar(folder: Path) -> Timing:
    from ranklog import JournalLogger

    logger = JournalLogger(folder, log_freq="batch")
    logger.create_logger_context()
    loss = torch.tensor(0.5, device="cuda")
    return measure(
        "ranklog log of a CUDA scalar",
        lambda i: logger.log(loss, "loss", step=i, batch_idx=i),
        20_000,
        logger.destroy_logger_context,
    )


def fifty_scalars(folder: Path) -> Timing:
    from ranklog import JournalLogger

    logger = JournalLogger(folder, log_freq="batch")
    logger.create_logger_context()
    values = {f"train/metric_{i}": torch.tensor(float(i), device="cuda") for i in range(50)}
    return measure(
        "ranklog log_metrics of 50 CUDA scalars",
        lambda i: logger.log_metrics(values, step=i, batch_idx=i),
        5_000,
        logger.destroy_logger_context,
    )


def main() -> None:
    if not torch.cuda.is_available():
        print("no CUDA device here (torch.cuda.is_available() is false): nothing is measured")
        return
    print(f"microseconds a call in the training thread, {torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{'':<44}{'median':>10}{'p99':>12}{'mean':>11}{'close s':>9}")
    for case in (one_scalar, fifty_scalars):
        with tempfile.TemporaryDirectory() as folder:
            t = case(Path(folder))
        print(f"{t.name:<44}{t.median_us:>10.2f}{t.p99_us:>12.1f}{t.mean_us:>11.1f}{t.close_s:>9.2f}")


if __name__ == "__main__":
    main()
