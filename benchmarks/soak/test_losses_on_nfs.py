"""Losses that need a real network file system with two client kernels: a node, the server, a name in a cache.

`benchmarks.soak.shared_disks` runs these tests.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import wait_until
from nfs_disk import Nfs
from shared_disks import mounted, wait_all
from two_nodes import RUN, Cluster, assert_intact

from ranklog.delivery.lock import LEASE_S, LOCK
from ranklog.journal.heads import read_heads

NODES = ("node-a", "node-b")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nfs]:
    """An NFS mount on two nodes. At the end, both nodes find every run intact."""
    with mounted("nfs", tmp_path_factory.mktemp("nfs")) as disk:
        assert isinstance(disk, Nfs)
        yield disk
        assert_intact(disk)


@pytest.fixture
def cluster(disk: Nfs, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Both nodes, with a run of the test."""
    made = Cluster(disk, request.node.name, tmp_path)
    yield made
    made.close()
    for guest in disk.guests.values():
        guest.power_on()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit status and output of a program."""
    output = process.communicate(timeout=200)[0]
    return process.returncode, output


def test_a_node_without_power_is_replaced_by_the_other_one(cluster: Cluster, disk: Nfs) -> None:
    training = cluster.train("node-a", forward="process")
    training.log(*range(10))
    wait_until((cluster.run_dir / LOCK).exists)
    disk.guests["node-a"].power_off()
    training.kill()
    training = cluster.train("node-b")
    training.log(*range(10, 20))
    training.end()
    status, output = ended(cluster.sync("node-b"))
    assert status != 0 and "on node-a delivers this run already" in output
    lock = cluster.savedir / "runs" / RUN / LOCK
    wait_all([cluster.start("node-b", "touch", "-d", f"@{time.time() - LEASE_S - 1}", lock)])
    wait_all([cluster.sync("node-b")])
    assert cluster.delivered() == list(range(20))


def test_a_server_that_is_killed_and_started_again_costs_nothing_that_was_acknowledged(
    cluster: Cluster, disk: Nfs
) -> None:
    training = cluster.train("node-a", flush_s=5)
    training.log(*range(5))
    with disk.server_killed():
        training.log_until_refused(5)
    training.log_until_stored(6)
    training.log(*range(7, 12))
    training.end()
    wait_all([cluster.sync("node-b")])
    assert sorted(set(cluster.delivered())) == list(range(12))
    assert len(cluster.delivered()) == training.logged


def test_files_of_a_rank_arrive_though_its_node_remembers_that_the_run_was_not_there(cluster: Cluster) -> None:
    wait_all([cluster.start("node-b", "mkdir", "-p", cluster.savedir / "runs")])
    for _ in range(3):
        assert ended(cluster.start("node-b", "ls", cluster.savedir / "runs" / RUN))[0] != 0
    wait_all(cluster.start_ranks())
    assert cluster.stored_files() == cluster.files_of_ranks()


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_moves_between_nodes_and_is_killed_again_and_again_has_each_step_once(
    cluster: Cluster, seed: int
) -> None:
    chance = random.Random(seed)
    watch, stored, logged = None, set(), 0
    for attempt in range(8):
        training = cluster.train(NODES[attempt % 2], forward="later" if attempt % 3 else "process")
        watch = watch or cluster.sync("node-b", "--watch", "--every", "0.5")
        steps = range(logged, logged + chance.randint(1, 12))
        training.log(*steps)
        stored |= set(steps)
        logged = steps.stop + chance.randint(0, 30)
        training.ask(*range(steps.stop, logged))
        training.kill() if chance.random() < 0.7 else training.end()
    assert watch is not None
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=120)
    wait_all([cluster.sync("node-b")])
    delivered = cluster.delivered()
    assert len(delivered) == len(set(delivered))
    assert stored <= set(delivered)
    assert [head.attempt.attempt for head in read_heads(cluster.run_dir)] == list(range(8))
