"""Cost of `log` and of closing while the backend is down, hangs, refuses, or drops connections during a response.

python -m benchmarks.soak.bad_server [--seconds 600] [--only FAULT]

A real MLflow server runs behind one faulty proxy per fault. One training per fault logs all the time, each in its own
process, all at once. After each training, its proxy recovers and `ranklog sync` delivers. The results of MLflow's
client are compared with the logged values, and `ranklog verify` checks the run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from ranklog import MLFlowLogger
from ranklog.journal.cursor import load_cursors

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results")
EXIT_TIMEOUT_S = 5.0
PAUSE_S = 0.005
SYNC_S = 1800.0
"""Longest time to wait for `ranklog sync`, which shares the machine with the other trials."""


class Training(msgspec.Struct, frozen=True):
    """Result of one training, as its process saw it."""

    run_dir: str
    steps: int
    median_us: float
    p99_us: float
    longest_us: float
    exit_s: float


class Trial(msgspec.Struct, frozen=True):
    """Result of one fault.

    Attributes:
        fault: Behaviour of the server.
        steps: Steps logged.
        median_us: Median of a call of `log`.
        p99_us: 99th percentile.
        longest_us: Longest call.
        exit_s: Time to close, at most `EXIT_TIMEOUT_S` plus the start of a process.
        requests: Requests to the proxy during the fault.
        sync_s: Time until `ranklog sync` was done after the proxy recovered.
        lost: Points that MLflow lacks after sync.
        twice: Points that MLflow has twice.
        problems: Problems that `ranklog verify` finds.
    """

    fault: str
    steps: int
    median_us: float
    p99_us: float
    longest_us: float
    exit_s: float
    requests: int
    sync_s: float
    lost: int
    twice: int
    problems: int


def train(name: str, url: str, savedir: Path, seconds: float) -> Training:
    """Train in this process."""
    warnings.simplefilter("ignore")
    logger = MLFlowLogger(savedir, tracking_uri=url, experiment_name=name)
    logger.create_logger_context()
    costs: list[float] = []
    end_s = time.monotonic() + seconds
    step = 0
    while time.monotonic() < end_s:
        before_s = time.perf_counter()
        logger.log(float(step), "loss", step=step)
        costs.append(time.perf_counter() - before_s)
        step += 1
        time.sleep(PAUSE_S)
    before_s = time.perf_counter()
    logger.destroy_logger_context(exit_timeout=EXIT_TIMEOUT_S)
    exit_s = time.perf_counter() - before_s
    costs.sort()
    return Training(
        run_dir=str(logger.run_dir),
        steps=step,
        median_us=statistics.median(costs) * 1e6,
        p99_us=costs[int(len(costs) * 0.99)] * 1e6,
        longest_us=costs[-1] * 1e6,
        exit_s=exit_s,
    )


def trial(name: str, proxy: Any, savedir: Path, seconds: float) -> Trial:
    """Train during one fault, in a process of its own, then recover and sync."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        training = process.submit(train, name, proxy.url, savedir, seconds).result()
    print(name, training, file=sys.stderr, flush=True)
    run_dir = Path(training.run_dir)
    requests = len(proxy.requests)
    proxy.fault = None
    proxy.released.set()
    begun_s = time.monotonic()
    sync(run_dir)
    sync_s = time.monotonic() - begun_s
    verified = _ranklog("verify", "--json", str(run_dir))
    points = _points(run_dir)
    return Trial(
        fault=name,
        steps=training.steps,
        median_us=training.median_us,
        p99_us=training.p99_us,
        longest_us=training.longest_us,
        exit_s=training.exit_s,
        requests=requests,
        sync_s=sync_s,
        lost=len({(n, float(n)) for n in range(training.steps)} - set(points)),
        twice=len(points) - len(set(points)),
        problems=len(json.loads(verified.stdout)["problems"]),
    )


def sync(run_dir: Path) -> None:
    """Run `ranklog sync` until it has delivered everything: the forwarder may still deliver at first."""
    deadline_s = time.monotonic() + SYNC_S
    while (done := _ranklog("sync", str(run_dir))).returncode:
        if time.monotonic() > deadline_s:
            raise RuntimeError(done.stdout + done.stderr)
        time.sleep(1.0)


def _ranklog(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ranklog.cli", *command], capture_output=True, text=True, check=False, timeout=SYNC_S
    )


def _points(run_dir: Path) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    ((_, cursor),) = load_cursors(run_dir)
    client = MlflowClient(tracking_uri=cursor.known["tracking_uri"])
    return [(metric.step, metric.value) for metric in client.get_metric_history(cursor.known["run_id"], "loss")]


def main() -> None:
    """Run the trials and write their result."""
    sys.path.insert(0, str(ROOT / "tests" / "delivery"))
    from faulty_proxy import Fault, Proxy, die_after_delivery, drop, hang, refuse
    from mlflow_server import serve

    faults: dict[str, Fault | None] = {
        "none": None,
        "down": drop,
        "hangs": hang,
        "500": refuse(500),
        "429": refuse(429, Retry_After="2"),
        "dies": die_after_delivery,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--only", choices=faults)
    given = parser.parse_args()
    seconds: float = given.seconds
    names = [given.only] if given.only else list(faults)
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder) / "mlflow") as port,
        ThreadPoolExecutor(len(names)) as threads,
    ):
        proxies = [Proxy(port) for _ in names]
        for name, proxy in zip(names, proxies, strict=True):
            proxy.fault = faults[name]
        folders = [Path(folder) / name for name in names]
        found = list(threads.map(trial, names, proxies, folders, [seconds] * len(names)))
        for proxy in proxies:
            proxy.stop()
    load = [round(each, 1) for each in os.getloadavg()]
    text = json.dumps({"seconds": seconds, "load": load, "trials": msgspec.to_builtins(found)}, indent=1)
    (RESULTS / (f"bad_server-{given.only}.json" if given.only else "bad_server.json")).write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
