"""SIGKILL of the forwarder at random moments, while MLflow (a real server), TensorBoard and W&B offline receive.

python -m benchmarks.soak.kill_forwarder [--steps 6000] [--seed 1]

A killed forwarder is restarted and killed again, as long as the training runs. Then `ranklog sync` delivers the rest.
The results of MLflow's client, TensorBoard's reader and W&B's file are compared with the logged values.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursors

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results")
LONGEST_LIFE_S = 6.0


class Killed(msgspec.Struct, frozen=True):
    """Results of the run.

    Attributes:
        kills: Forwarders killed.
        steps: Steps logged.
        exit_status: Exit status of the training.
        longest_log_ms: Longest call of `log`.
        lost: Points that each backend lacks.
        twice: Points that each backend has twice.
    """

    kills: int
    steps: int
    exit_status: int
    longest_log_ms: float
    lost: dict[str, int]
    twice: dict[str, int]


def kill_forwarders(steps: int, seed: int, savedir: Path, tracking_uri: str) -> Killed:
    """Train, kill each forwarder, sync, and return the content of the backends."""
    chance = random.Random(seed)
    command = [sys.executable, "-m", "benchmarks.soak.forwarder_job", str(savedir), tracking_uri, str(steps)]
    training = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    training.stdout.readline()
    kills = 0
    process = psutil.Process(training.pid)
    while training.poll() is None:
        forwarder = _forwarder(process)
        if forwarder is None:
            time.sleep(0.02)
            continue
        try:
            training.wait(chance.uniform(0.1, LONGEST_LIFE_S))
        except subprocess.TimeoutExpired:
            # It may have ended normally with the training.
            with suppress(psutil.NoSuchProcess):
                forwarder.send_signal(signal.SIGKILL)
                kills += 1
                forwarder.wait(10)
    said = json.loads(training.stdout.read())
    run_dir = savedir / "runs" / "beside"
    _sync(run_dir)
    have = _read(run_dir)
    expected = {(step, float(step)) for step in range(steps)}
    return Killed(
        kills=kills,
        steps=steps,
        exit_status=training.returncode,
        longest_log_ms=said["longest_log_s"] * 1e3,
        lost={name: len(expected - set(points)) for name, points in have.items()},
        twice={name: sum(Counter(points).values()) - len(set(points)) for name, points in have.items()},
    )


def _forwarder(process: psutil.Process) -> psutil.Process | None:
    try:
        children = process.children()
        return next((c for c in children if c.status() != "zombie" and "ranklog.delivery" in c.cmdline()), None)
    except psutil.NoSuchProcess:
        return None


def _sync(run_dir: Path) -> None:
    deadline_s = time.monotonic() + 60
    while True:
        try:
            pump = Pump(run_dir, console=io.StringIO())
            break
        except LockedError:  # the last forwarder is exiting
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)
    try:
        for _ in pump.run(Finish()):
            pass
    finally:
        pump.close()


def _read(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    known = {cursor.backend: cursor.known for _, cursor in load_cursors(run_dir)}
    client = MlflowClient(tracking_uri=known["mlflow"]["tracking_uri"])
    history = client.get_metric_history(known["mlflow"]["run_id"], "loss")
    events = EventAccumulator(known["tensorboard"]["folder"], size_guidance={"scalars": 0}).Reload()
    return {
        "mlflow": [(metric.step, metric.value) for metric in history],
        "tensorboard": [(event.step, event.value) for event in events.Scalars("loss")],
        "wandb": list(_wandb_rows(Path(known["wandb"]["directory"]).parents[1])),
    }


def _wandb_rows(savedir: Path) -> Iterable[tuple[int, float]]:
    """Read the rows of all offline files of the run, as in the tests."""
    sys.path.insert(0, str(ROOT / "tests" / "delivery"))
    from wandb_reader import OfflineRun, offline_files

    for path in offline_files(savedir):
        for row in OfflineRun(path).history:
            if "loss" in row:
                yield int(row["step"]), float(row["loss"])


def main() -> None:
    """Run the trial and write its result."""
    sys.path.insert(0, str(ROOT / "tests" / "delivery"))
    from mlflow_server import serve

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "mlflow") as port:
        found = kill_forwarders(given.steps, given.seed, Path(folder) / "logs", f"http://127.0.0.1:{port}")
    text = json.dumps({"seed": given.seed, **msgspec.to_builtins(found)}, indent=1)
    (RESULTS / "kill_forwarder.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
