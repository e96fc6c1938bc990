"""Helper that runs a real MLflow server on the loopback interface."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow_database import place_database


@contextmanager
def serve(home: Path, port: int | None = None, host: str = "127.0.0.1") -> Iterator[int]:
    """Run a server that stores everything below ``home``; yields its port.

    Every ``host`` of 127.0.0.0/8 is on loopback, but MLflow accepts requests for 127.0.0.1 only.
    """
    if port is None:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
    home.mkdir(exist_ok=True)
    database = place_database(home / "mlflow.db")
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(home / "a")]
    # The job runner would start eight more processes that import MLflow. Tracking does not need them.
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--workers", "1"], cwd=home, env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_until_it_answers(f"http://{host}:{port}/health", process)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=120)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("the MLflow server did not start")
