"""Cost of `log` and of closing while the backend hangs, refuses, or drops connections during a response.

python -m benchmarks.soak.bad_server [--seconds 60] [--only FAULT]

A real MLflow server runs behind a faulty proxy. For each fault, one training logs a thousand steps per second. Then the
proxy recovers and `ranklog sync` delivers. The results of MLflow's client are compared with the logged values.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ranklog import MLFlowLogger
from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursors

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results")
EXIT_TIMEOUT_S = 5.0
PAUSE_S = 0.001


class Trial(msgspec.Struct, frozen=True):
    """Result of one fault.

    Attributes:
        fault: Behaviour of the server.
        steps: Steps logged.
        median_us: Median of a call of `log`.
        p99_us: 99th percentile.
        exit_s: Time to close, at most `EXIT_TIMEOUT_S` plus the start of a process.
        requests: Requests to the proxy during the fault.
        lost: Points that MLflow lacks after sync.
        twice: Points that MLflow has twice.
    """

    fault: str
    steps: int
    median_us: float
    p99_us: float
    exit_s: float
    requests: int
    lost: int
    twice: int


def trial(name: str, fault: Callable[..., bool], proxy: Any, savedir: Path, seconds: float) -> Trial:
    """Train during one fault."""
    proxy.fault = fault
    proxy.requests.clear()
    logger = MLFlowLogger(savedir, tracking_uri=proxy.url, experiment_name=name)
    logger.create_logger_context()
    run_dir = logger.run_dir
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
    requests = len(proxy.requests)
    proxy.fault = None
    proxy.released.set()
    _sync(run_dir)
    proxy.released.clear()
    points = _points(run_dir)
    costs.sort()
    return Trial(
        fault=name,
        steps=step,
        median_us=statistics.median(costs) * 1e6,
        p99_us=costs[int(len(costs) * 0.99)] * 1e6,
        exit_s=exit_s,
        requests=requests,
        lost=len({(n, float(n)) for n in range(step)} - set(points)),
        twice=len(points) - len(set(points)),
    )


def _sync(run_dir: Path) -> None:
    deadline_s = time.monotonic() + 120
    while True:
        try:
            pump = Pump(run_dir, console=io.StringIO())
            break
        except LockedError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.2)
    try:
        for _ in pump.run(Finish(), tries=20):
            pass
    finally:
        pump.close()


def _points(run_dir: Path) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    ((_, cursor),) = load_cursors(run_dir)
    client = MlflowClient(tracking_uri=cursor.known["tracking_uri"])
    return [(metric.step, metric.value) for metric in client.get_metric_history(cursor.known["run_id"], "loss")]


def main() -> None:
    """Run the trials and write their result."""
    sys.path.insert(0, str(ROOT / "tests" / "delivery"))
    from faulty_proxy import Proxy, die_after_delivery, drop, hang, refuse
    from mlflow_server import serve

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    seconds: float = given.seconds
    warnings.simplefilter("ignore")
    faults = {
        "none": lambda handler, body: False,
        "down": drop,
        "hangs": hang,
        "500": refuse(500),
        "429": refuse(429, Retry_After="2"),
        "dies": die_after_delivery,
    }
    found = []
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "mlflow") as port:
        proxy = Proxy(port)
        for name, fault in faults.items():
            if given.only not in ("", name):
                continue
            found.append(trial(name, fault, proxy, Path(folder) / name, seconds))
            print(found[-1], file=sys.stderr)
        proxy.stop()
    text = json.dumps({"seconds": seconds, "trials": msgspec.to_builtins(found)}, indent=1)
    name = f"bad_server-{given.only}.json" if given.only else "bad_server.json"
    (RESULTS / name).write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
