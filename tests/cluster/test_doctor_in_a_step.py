"""The doctor in a Slurm step reports on all ranks, which it connects itself, because Slurm does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cluster import VENV, Slurm

RANKLOG = str(VENV / "bin" / "ranklog")


@pytest.mark.both_slurms
def test_srun_shows_both_nodes_and_the_jobs_time_limit(slurm: Slurm, tmp_path: Path) -> None:
    command = ("srun", "-t", "5", "-N2", "-n4", RANKLOG, "doctor", "--json", "--backends", "console")
    told = json.loads(slurm.ask(*command, cwd=tmp_path, RANKLOG_DIR=str(tmp_path / "runs")))
    found = {check["name"]: check for check in told["checks"]}
    assert (told["ranks"], told["level"]) == (4, "warn")
    assert found["place"]["text"] == "4 ranks on 2 nodes: variables of slurm"
    assert found["place"]["ranks"] == [0, 1, 2, 3]
    assert found["shared directory"]["level"] == found["clocks"]["level"] == "ok"
    assert found["time limit"]["level"] == "warn" and "the job ends" in found["time limit"]["text"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == []


def test_ranks_that_do_not_share_the_directory_are_told_and_nothing_hangs(slurm: Slurm, tmp_path: Path) -> None:
    own = f"RANKLOG_DIR={tmp_path}/node-$SLURM_NODEID exec {RANKLOG} doctor --timeout 5"
    said = slurm.ask("srun", "-N2", "-n2", "bash", "-c", own, cwd=tmp_path, check=False)
    assert "BAD  communicator" in said and "the ranks cannot communicate" in said
