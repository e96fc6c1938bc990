"""Runs on file systems that two nodes share: nothing that `flush` acknowledged is lost, and nothing is there twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import wait_until
from shared_disks import KINDS, SharedDisk, mounted, wait_all
from two_nodes import RUN, Cluster, assert_intact

from ranklog.journal.heads import read_heads

pytestmark = pytest.mark.slow

AWAY_S = float(os.environ.get("RANKLOG_TEST_AWAY_S", "4"))
"""Seconds in which a disk that is away must not acknowledge. `benchmarks.soak.shared_disks` takes longer."""
NAMES = [name] if (name := os.environ.get("RANKLOG_TEST_DISK")) else list(KINDS)


@pytest.fixture(scope="module", params=NAMES)
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedDisk]:
    """A file system that two nodes share. At the end, both nodes find every run intact."""
    with mounted(request.param, tmp_path_factory.mktemp(request.param)) as disk:
        yield disk
        assert_intact(disk)


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


def test_files_of_a_rank_on_the_other_node_arrive(cluster: Cluster) -> None:
    wait_all(cluster.start_ranks())
    assert cluster.stored_files() == cluster.files_of_ranks()


def test_a_training_that_was_killed_is_delivered_by_a_sync_on_the_other_node(cluster: Cluster) -> None:
    training = cluster.train("node-a")
    training.log(*range(10))
    training.kill()
    wait_all([cluster.sync("node-b")])
    assert cluster.delivered() == list(range(10))


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


def test_two_syncs_at_once_on_two_nodes_deliver_everything_once(cluster: Cluster) -> None:
    training = cluster.train("node-a")
    training.log(*range(10))
    training.end()
    syncs = [cluster.sync(node) for node in ("node-a", "node-b")]
    for sync in syncs:
        sync.communicate(timeout=120)
    assert 0 in [sync.returncode for sync in syncs]
    assert cluster.delivered() == list(range(10))


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
