"""Runs on file systems that two nodes share: nothing that `flush` acknowledged is lost, and nothing is there twice."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import wait_until
from launch import job_environment
from shared_disks import KINDS, SharedDisk, mounted, wait_all

from ranklog.journal.heads import read_heads

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("shared_disk_job.py")
RUN = "shared"
AWAY_S = float(os.environ.get("RANKLOG_TEST_AWAY_S", "4"))
"""Seconds in which a disk that is away must not acknowledge. `benchmarks.soak.shared_disks` takes longer."""
NAMES = [name] if (name := os.environ.get("RANKLOG_TEST_DISK")) else list(KINDS)
CLI = (sys.executable, "-m", "ranklog.cli")


@pytest.fixture(scope="module", params=NAMES)
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedDisk]:
    """A file system that two nodes share."""
    yield from mounted(request.param, tmp_path_factory.mktemp(request.param))


class Cluster:
    """Two nodes that share a disk, with one run.

    Args:
        disk: The disk.
        name: Name of the run's savedir.
        local: A folder on a local disk.
    """

    def __init__(self, disk: SharedDisk, name: str, local: Path) -> None:
        self.local = local
        self.disk = disk
        self.savedir = disk.path / name
        self.content = disk.server / name
        self.run_dir = self.content / "runs" / RUN
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, node: str, *words: object, **environ: str) -> subprocess.Popen[str]:
        """Start a program on a node."""
        process = subprocess.Popen(
            self.disk.on(node, *map(str, words)),
            env=job_environment(COLUMNS="200", **environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def train(self, node: str, *, forward: str = "later", flush_s: float = 60) -> Training:
        """Start a training that continues the run."""
        return Training(self.start(node, *self.job(forward, flush_s)))

    def job(self, forward: str, flush_s: float = 60) -> tuple[object, ...]:
        """Return the command of a training."""
        return sys.executable, JOB, self.savedir, RUN, forward, flush_s, self.local

    def sync(self, node: str, *options: str) -> subprocess.Popen[str]:
        """Start `ranklog sync` on a node."""
        return self.start(node, *CLI, "sync", self.savedir / "runs" / RUN, *options)

    def delivered(self) -> list[int]:
        """Steps that the CSV backend has, by Python's reader."""
        path = self.content / "csv" / RUN / "metrics.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [int(row["step"]) for row in rows if row["name"] == "loss" and row["value"]]

    def assert_clean(self) -> None:
        """`ranklog verify` finds nothing, on either node."""
        for node in ("node-a", "node-b"):
            wait_all([self.start(node, *CLI, "verify", self.savedir / "runs" / RUN)])

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.kill()
            process.communicate()


class Training:
    """A `shared_disk_job` with one rank."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.logged = 0
        self.wait_for("started")

    def wait_for(self, *expected: str) -> str:
        """Wait for one of several lines in its output, and return it."""
        assert self.process.stdout is not None
        lines = []
        while (line := self.process.stdout.readline()) and line.strip() not in expected:
            lines.append(line)
        assert line, "".join(lines)
        return line.strip()

    def ask(self, *steps: int) -> None:
        """Have steps logged, without waiting."""
        assert self.process.stdin is not None
        self.logged += len(steps)
        self.process.stdin.writelines(f"{step}\n" for step in steps)
        self.process.stdin.flush()

    def log(self, *steps: int) -> None:
        """Have steps logged and acknowledged by `flush`."""
        self.ask(*steps)
        for step in steps:
            self.wait_for(f"stored {step}")

    def log_until_stored(self, step: int) -> None:
        """Have a step logged again until it is acknowledged: a disk that is back may need longer than one `flush`."""
        self.ask(step)
        while self.wait_for(f"stored {step}", f"not stored {step}") != f"stored {step}":
            self.ask(step)

    def log_until_refused(self, step: int) -> None:
        """Have a step logged again until it is not acknowledged: a full disk may have room in the last block."""
        self.ask(step)
        while self.wait_for(f"stored {step}", f"not stored {step}") == f"stored {step}":
            self.ask(step)

    def end(self) -> None:
        """End it as a program ends."""
        wait_all([self.process])

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def cluster(disk: SharedDisk, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(disk, request.function.__name__[:40], tmp_path)
    yield made
    made.close()


def test_a_run_of_one_node_is_complete_for_the_other(cluster: Cluster) -> None:
    training = cluster.train("node-a", forward="process")
    training.log(*range(10))
    training.end()
    assert cluster.delivered() == list(range(10))
    cluster.assert_clean()


def test_files_of_a_rank_on_the_other_node_arrive(cluster: Cluster) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2", **cluster.disk.ranks}
    ranks = [
        cluster.start(
            node, *cluster.job("process"),
            RANK=str(rank), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", GROUP_RANK=str(rank), **group,
        )
        for rank, node in enumerate(("node-a", "node-b"))
    ]  # fmt: skip
    wait_all(ranks)
    folder = cluster.content / "csv" / RUN
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    stored = {(folder / item["path"]).read_bytes() for item in items}
    assert stored == {(cluster.local / f"rank-{rank}.bin").read_bytes() for rank in range(2)}
    cluster.assert_clean()


def test_a_training_that_was_killed_is_delivered_by_a_sync_on_the_other_node(cluster: Cluster) -> None:
    training = cluster.train("node-a")
    training.log(*range(10))
    training.kill()
    wait_all([cluster.sync("node-b")])
    assert cluster.delivered() == list(range(10))
    cluster.assert_clean()


def test_a_watching_sync_on_the_other_node_delivers_everything(cluster: Cluster) -> None:
    training = cluster.train("node-a")
    watch = cluster.sync("node-b", "--watch", "--every", "0.5")
    for step in range(5):
        training.log(step)
        wait_until(lambda: cluster.delivered() == list(range(step + 1)))  # noqa: B023
    training.end()
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=120)
    assert cluster.delivered() == list(range(5))
    cluster.assert_clean()


def test_two_syncs_at_once_on_two_nodes_deliver_everything_once(cluster: Cluster) -> None:
    training = cluster.train("node-a")
    training.log(*range(10))
    training.end()
    syncs = [cluster.sync(node) for node in ("node-a", "node-b")]
    for sync in syncs:
        sync.communicate(timeout=120)
    assert 0 in [sync.returncode for sync in syncs]
    assert cluster.delivered() == list(range(10))
    cluster.assert_clean()


def test_a_requeue_on_a_node_that_had_listed_the_run_before_goes_on_behind_it(cluster: Cluster) -> None:
    first = cluster.train("node-a")
    first.log(0, 1)
    first.kill()
    wait_all([cluster.start("node-b", "ls", "-l", cluster.savedir / "runs" / RUN)])
    for node, step in (("node-a", 2), ("node-b", 4)):
        training = cluster.train(node)
        training.log(step, step + 1)
        training.end()
        wait_all([cluster.sync(node)])
    heads = read_heads(cluster.run_dir)
    assert [head.attempt.attempt for head in heads] == [0, 1, 2]
    assert cluster.delivered() == list(range(6))
    cluster.assert_clean()


def test_a_disk_that_goes_away_and_comes_back_costs_nothing_that_was_acknowledged(cluster: Cluster) -> None:
    training = cluster.train("node-a", flush_s=AWAY_S)
    training.log(*range(3))
    with cluster.disk.away():
        training.log_until_refused(3)
    training.log_until_stored(4)
    training.log(*range(5, 9))
    training.end()
    wait_all([cluster.sync("node-b")])
    assert sorted(set(cluster.delivered())) == list(range(9))
    assert len(cluster.delivered()) == training.logged
    cluster.assert_clean()
