"""A worker of Ray that ends takes its children with it, but not its forwarder."""

import subprocess
import sys
from pathlib import Path

import pytest
from cluster import wait_until
from launch import job_environment

from ranklog.view.deliveries import deliveries_of

pytestmark = pytest.mark.slow

# Ends as Ray ends a worker whose function raised: it kills its own children first.
WORKER = """
import os, signal, sys
from pathlib import Path
import ranklog.forwarding.forwarder as forwarder
from ranklog import CSVLogger

forwarder.in_ray_worker = lambda: True
logger = CSVLogger(savedir=sys.argv[1], run_id="worker")
logger.create_logger_context()
for step in range(10):
    logger.log(float(step), "loss", step=step)
assert logger.wait_delivered(60)
children = [Path(f"/proc/self/task/{task}/children").read_text().split() for task in os.listdir("/proc/self/task")]
logger.log(10.0, "loss", step=10)
assert logger.flush(60)
for child in sum(children, []):
    os.kill(int(child), signal.SIGKILL)
os._exit(0)
"""


def test_a_forwarder_of_a_worker_whose_children_are_killed_delivers_the_rest_and_closes_the_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path)],
        env=job_environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "worker"
    wait_until(lambda: deliveries_of(run)[0].status is not None)
    (delivery,) = deliveries_of(run)
    assert (delivery.status, delivery.waiting) == ("KILLED", 0)
