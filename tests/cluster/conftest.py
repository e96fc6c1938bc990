"""Without a Slurm of one's own the tests here are skipped; in CI they fail."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged")))
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)
            if missing and os.environ.get("CI", "").lower() != "true":
                item.add_marker(pytest.mark.skip(reason="a Slurm of one's own needs root, slurm-wlm and munge"))
