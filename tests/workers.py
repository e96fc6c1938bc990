"""Scheduling of tests on the workers of pytest-xdist.

Long tests run first, so that no worker is idle at the end. The ``loadgroup`` mode of xdist 3.8 has no effect with
pytest 9.2, which no longer lets plugins change the id of a test.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Tests that share one Slurm cluster and the container images. One worker runs them, first of all.
SHARED = ("tests/cluster/", "tests/containers/")
# Tests that start many processes. Each one goes to the next free worker.
LONG = ("tests/jobs/", "tests/world/", "tests/faults/", "tests/soak/", "tests/reduce/")
# Files whose tests share an MLflow server. One worker runs all of them.
ONE_SERVER = tuple(f"tests/delivery/test_{name}.py" for name in ("bad_server", "mlflow", "mlflow_trouble"))
# Files whose tests share a training, a job or a run. One worker runs each file.
WHOLE = (
    "tests/jobs/test_runtimes.py",
    "tests/soak/test_odd_content.py",
    "tests/world/test_each_mpi.py",
    "tests/world/test_horovod.py",
)
# Files that one worker needs minutes for. They start among the long tests, so that short ones are left for the end.
LONG_FILES = ("tests/filesystems/", *ONE_SERVER)


def position(node_id: str) -> int:
    """Return the sort key of a test: shared first, then long ones, then the rest."""
    if node_id.startswith(SHARED):
        return 0
    return 1 if node_id.startswith((*LONG, *LONG_FILES)) else 2


class Scheduling(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
    """Scheduler whose units are tests that share something, single long tests, and files, in collected order."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(SHARED):
            return "shared"
        if nodeid.startswith(ONE_SERVER):
            return "one MLflow server"
        if nodeid.startswith(LONG) and not nodeid.startswith(WHOLE):
            return nodeid
        return nodeid.partition("::")[0]
