"""The doctor's probes on real file systems: a quota that only writing finds, and a container's overlay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shared_disks import SharedDisk, mounted

from ranklog.cli.doctor.quota import quota_checks
from ranklog.cli.doctor.storage import storage_checks

pytestmark = pytest.mark.slow


@pytest.fixture
def btrfs(tmp_path) -> Iterator[SharedDisk]:
    with mounted("btrfs", tmp_path) as disk:
        yield disk


@pytest.fixture
def overlay(tmp_path) -> Iterator[SharedDisk]:
    with mounted("overlay", tmp_path) as disk:
        yield disk


def test_a_quota_is_found_by_writing_though_the_sizes_show_room(btrfs):
    folder = btrfs.mounts["node-a"]
    (quota,) = quota_checks(folder)
    assert quota.level == "bad" and quota.text.startswith("the quota leaves less than 64.0 MiB")
    assert "more quota" in quota.cure
    space = next(check for check in storage_checks(folder) if check.name == "space")
    assert space.level != "bad"
    assert list(folder.iterdir()) == []
    btrfs.come_back()
    assert [check.level for check in quota_checks(folder)] == ["ok"]


def test_an_overlay_is_yellow_because_it_ends_with_the_container(overlay):
    found = storage_checks(overlay.mounts["node-a"])[0]
    assert found.level == "warn" and "is on overlay" in found.text and "--bind" in found.cure
    assert list(overlay.mounts["node-a"].iterdir()) == []
