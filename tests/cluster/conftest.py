"""A real Slurm of two virtual nodes for the tests here, and how they speak with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, Slurm, wait_until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged")))
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)
            if missing and os.environ.get("CI", "").lower() != "true":
                item.add_marker(pytest.mark.skip(reason="a Slurm of one's own needs root, slurm-wlm and munge"))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    folder = tmp_path_factory.mktemp("cluster") / "slurm"
    subprocess.run([ROOT / "scripts" / "slurm-up.sh", folder], check=True, timeout=90)
    try:
        cluster = Slurm(folder / "slurm.conf")
        yield cluster
        # What a failed test left behind would go on without its cluster.
        cluster.ask("scancel", "--user=root", check=False)
        wait_until(lambda: not cluster.ask("squeue", "-h", "-o", "%i").strip())
    finally:
        subprocess.run([folder / "down.sh"], check=False, timeout=30)
