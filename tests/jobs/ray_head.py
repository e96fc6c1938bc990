"""Ray cluster of one node, shared by all tests of a run on the loopback interface.

A Ray of its own costs each test several seconds of CPU time. The first test that needs Ray starts this script, also for
the other workers of pytest-xdist. Each process that runs tests holds a shared lock on a file. The cluster ends when it
gets the exclusive lock, so it ends also after those processes were killed.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

CPUS = 8
"""Enough for three jobs at a time, with two workers each."""
PASSED = ("RANKLOG_", "MLFLOW_", "SLURM_", "RAY_TRAIN_")
"""Variables that the workers of a job get from its driver. Their others are those of the cluster."""
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "GLOO_SOCKET_IFNAME": "lo",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # makes Ray use 127.0.0.1 for all nodes
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # saves a process; only preemptible cloud machines need it
}
ADDRESS, USERS, STARTING, LOG = "address", "users", "starting", "log"


def of_driver(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a driver whose ``ray.init()`` connects to the shared cluster."""
    passed = {name: value for name, value in env.items() if name.startswith(PASSED)}
    job = {"runtime_env": {"env_vars": passed}, "metadata": {}}
    return {**env, **SETTINGS, **_join(), "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)}


@functools.cache
def _join() -> dict[str, str]:
    """Return the variables that connect to the cluster; start it unless it runs."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", secrets.token_hex(4))[:8]
    folder = Path(tempfile.gettempdir(), f"ray-{os.getuid()}-{run}")  # short, because it contains Ray's sockets
    users = _lock(folder)
    _held.append(users)
    with (folder / STARTING).open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not (folder / ADDRESS).exists():
            _start(folder)
    connection: dict[str, str] = json.loads((folder / ADDRESS).read_text())
    return connection


_held: list[IO[str]] = []


def _lock(folder: Path) -> IO[str]:
    """Take the shared lock; wait while an earlier cluster removes its folder."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            users = (folder / USERS).open("a")
            fcntl.flock(users, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(users.fileno()), (folder / USERS).stat()):
                return users


def _start(folder: Path) -> None:
    with (folder / LOG).open("w") as log:
        head = subprocess.Popen(
            [sys.executable, __file__, str(folder)], env={**os.environ, **SETTINGS}, cwd=folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    assert head.stdout is not None
    with head.stdout:
        ready = head.stdout.readline()
    if not ready:
        head.wait()
        raise AssertionError(f"Ray did not start: {(folder / LOG).read_text()}")
    head.returncode = 0  # it outlives this process, which shall not warn of it


def _serve(folder: Path) -> None:
    """Run the cluster until no process uses it, then remove its folder."""
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}  # else Ray writes one to the home directory
    # Ray would start a worker per CPU for the first driver.
    os.environ.update(token, RAY_TMPDIR=str(folder), RAY_prestart_worker_first_driver="0")

    from ray.cluster_utils import Cluster

    arguments = {
        "num_cpus": CPUS, "num_gpus": 0, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1",
        "include_dashboard": False, "include_log_monitor": False, "no_monitor": True,
    }  # fmt: skip
    with (folder / USERS).open("a") as users:
        try:
            cluster = Cluster(initialize_head=True, shutdown_at_exit=True, head_node_args=arguments)
            (folder / ADDRESS).write_text(json.dumps({**token, "RAY_ADDRESS": cluster.address}))
            with suppress(BrokenPipeError):  # the tests were interrupted
                print("ready", flush=True)
            fcntl.flock(users, fcntl.LOCK_EX)
            cluster.shutdown()
        finally:
            fcntl.flock(users, fcntl.LOCK_EX)
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.umask(0o077)
    _serve(Path(sys.argv[1]))
