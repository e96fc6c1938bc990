"""SIGKILL of rank 0 at a random moment, many times in one run.

python -m benchmarks.soak.kills [--times 1000] [--seed 1]

Each training continues after the last acknowledged step, like a training that saves a checkpoint with each flush. At
intervals, journaled records are delivered to MLflow (SQLite) and TensorBoard, as `ranklog sync` does. At the end, the
journal, MLflow's client and TensorBoard's reader are checked.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import msgspec

from benchmarks.soak.kill_job import RUN_ID
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursors
from ranklog.view.query import RunView

SYNC_EVERY = 40
LONGEST_S = 0.06
"""Longest life of a training where the machine is idle. Where it is busy, the time of some flushes is longer."""
TIMED_FLUSHES = 20
RESULTS = Path(__file__).with_name("results")


class Kills(msgspec.Struct, frozen=True):
    """Results of the run.

    Attributes:
        times: Trainings killed.
        attempts: Trainings that wrote a record.
        acknowledged: Steps acknowledged by a flush.
        lost: Acknowledged points missing in the journal, by metric.
        mlflow_lost: Acknowledged points missing in MLflow.
        mlflow_twice: Points that MLflow has twice.
        tensorboard_lost: Acknowledged points missing in TensorBoard.
        tensorboard_twice: Points that TensorBoard has twice.
        wall_s: Duration.
    """

    times: int
    attempts: int
    acknowledged: int
    lost: int
    mlflow_lost: int
    mlflow_twice: int
    tensorboard_lost: int
    tensorboard_twice: int
    wall_s: float


def kill(times: int, seed: int, savedir: Path) -> Kills:
    """Kill ``times`` trainings of one run, and return the results."""
    chance = random.Random(seed)
    run_dir = savedir / "runs" / RUN_ID
    started = time.perf_counter()
    acknowledged, longest_s = -1, LONGEST_S
    zygote = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.soak.kill_job", str(savedir)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert zygote.stdin is not None and zygote.stdout is not None
    try:
        for number in range(1, times + 1):
            zygote.stdin.write(f"{acknowledged + 1}\n")
            pid = int(_expect(zygote.stdout.readline(), "started"))
            if number % SYNC_EVERY == 1:
                longest_s, acknowledged = _time_flushes(zygote.stdout, acknowledged)
            else:
                # The moment is random: from before the first record to the middle of a flush.
                time.sleep(chance.uniform(0.0, max(LONGEST_S, longest_s)))
            os.kill(pid, signal.SIGKILL)
            while (line := zygote.stdout.readline()) != "gone\n":
                acknowledged = max(acknowledged, int(_expect(line, "flushed")))
            if number % SYNC_EVERY == 0 and run_dir.exists():
                deliver(run_dir)
    finally:
        zygote.stdin.close()
        zygote.wait(10)
    deliver(run_dir)
    return _count(run_dir, times, acknowledged, time.perf_counter() - started)


def _time_flushes(output: IO[str], acknowledged: int) -> tuple[float, int]:
    """Return the seconds that a training needs now for some flushes, and the last step that they acknowledged."""
    started_s = time.perf_counter()
    for _ in range(TIMED_FLUSHES):
        acknowledged = max(acknowledged, int(_expect(output.readline(), "flushed")))
    return time.perf_counter() - started_s, acknowledged


def _expect(line: str, word: str) -> str:
    said, _, rest = line.partition(" ")
    if said != word:
        raise RuntimeError(f"the training said {line!r} instead of {word!r}")
    return rest


def deliver(run_dir: Path) -> None:
    """Deliver all records, and close the run as killed."""
    pump = Pump(run_dir, console=io.StringIO())
    try:
        for feed in pump.run(Finish("KILLED")):
            if feed.cursor.error:
                raise RuntimeError(feed.cursor.error)
    finally:
        pump.close()


def _count(run_dir: Path, times: int, acknowledged: int, wall_s: float) -> Kills:
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    view = RunView(run_dir)
    known = {cursor.backend: cursor.known for _, cursor in load_cursors(run_dir)}
    client = MlflowClient(tracking_uri=known["mlflow"]["tracking_uri"])
    events = EventAccumulator(known["tensorboard"]["folder"], size_guidance={"scalars": 0}).Reload()
    lost = mlflow_lost = mlflow_twice = tensorboard_lost = tensorboard_twice = 0
    for name, scale in (("loss", 1.0), ("acc", 0.5)):
        expected = {(step, step * scale) for step in range(acknowledged + 1)}
        lost += len(expected - {(p.step, p.value) for p in view.series(name)})
        history = client.get_metric_history(known["mlflow"]["run_id"], name)
        mlflow_lost += len(expected - {(metric.step, metric.value) for metric in history})
        mlflow_twice += len(history) - len({(m.step, m.timestamp, m.value) for m in history})
        scalars = [(event.step, event.value) for event in events.Scalars(name)]
        tensorboard_lost += len(expected - set(scalars))
        tensorboard_twice += len(scalars) - len(set(scalars))
    return Kills(
        times=times,
        attempts=len(view.attempts),
        acknowledged=acknowledged + 1,
        lost=lost,
        mlflow_lost=mlflow_lost,
        mlflow_twice=mlflow_twice,
        tensorboard_lost=tensorboard_lost,
        tensorboard_twice=tensorboard_twice,
        wall_s=wall_s,
    )


def main() -> None:
    """Run the trial and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = kill(given.times, given.seed, Path(folder))
    text = json.dumps({"seed": given.seed, **msgspec.to_builtins(found)}, indent=1)
    (RESULTS / "kills.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
