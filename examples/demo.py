"""Demo of `make demo`: train on two ranks, then read the result back with the backends' own readers.

The numbers in the table come from MLflow's client and TensorBoard's EventAccumulator, not from ranklog.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RANKS = 2


def train(savedir: Path) -> None:
    print(
        f"Training on scikit-learn's digits with torchrun, {RANKS} ranks; logs go to {_short(savedir)}",
        flush=True,
    )
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS),
        str(ROOT / "examples" / "train_digits.py"), "--savedir", str(savedir), "--backends", "mlflow,tensorboard",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore::FutureWarning"}
    subprocess.run(command, check=True, env=environment)


def read_mlflow(savedir: Path) -> dict[str, str]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{mlflow_database(savedir)}")
    experiments = [e for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs([e.experiment_id for e in experiments])
    run = runs[0]
    return {
        "runs": str(len(runs)),
        "status": run.info.status,
        "coverage": run.data.tags.get("ranklog.coverage", "?"),
        "train/loss points": str(len(client.get_metric_history(run.info.run_id, "train/loss"))),
        **{name: f"{run.data.metrics[name]:.4f}" for name in ("train/loss", "test/loss", "test/accuracy")},
    }


def read_tensorboard(savedir: Path) -> dict[str, str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = [path for path in (savedir / "tensorboard").iterdir() if path.is_dir()]
    events = EventAccumulator(str(folders[0]), size_guidance={"scalars": 0}).Reload()
    return {
        "runs": str(len(folders)),
        "status": "",
        "coverage": "",
        "train/loss points": str(len(events.Scalars("train/loss"))),
        **{name: f"{events.Scalars(name)[-1].value:.4f}" for name in ("train/loss", "test/loss", "test/accuracy")},
    }


def mlflow_database(savedir: Path) -> Path:
    """Return the database of the run: its own on a network file system, else the common one."""
    return next((savedir / "mlflow" / "runs").glob("*.db"), savedir / "mlflow" / "mlflow.db")


def main() -> int:
    savedir = ROOT / "demo-runs" / time.strftime("%Y%m%d-%H%M%S")
    train(savedir)
    print("\nReading back from the backends' own readers …", flush=True)
    from_mlflow, from_tensorboard = read_mlflow(savedir), read_tensorboard(savedir)
    print(f"\n{'':<20}{'MLflow':>12}{'TensorBoard':>14}")
    for name, value in from_mlflow.items():
        print(f"{name:<20}{value:>12}{from_tensorboard[name]:>14}")
    right = from_mlflow["runs"] == from_tensorboard["runs"] == "1" and from_mlflow["coverage"] == f"{RANKS}/{RANKS}"
    print(
        f"\n{'One run in each backend, every value reduced over all ranks.' if right else 'Something is missing!'}\n\n"
        "Look at it:\n"
        f"  .venv/bin/ranklog show {_short(savedir / 'runs')}\n"
        f"  .venv/bin/mlflow ui --backend-store-uri sqlite:///{_short(mlflow_database(savedir))}\n"
        f"  .venv/bin/tensorboard --logdir {_short(savedir)}/tensorboard"
    )
    return 0 if right else 1


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
