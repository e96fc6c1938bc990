"""MPICH under a real Slurm's PMI-2 plugin: ranks on two nodes are one world, and Slurm ends them when one fails."""

import sys
from pathlib import Path

import pytest
from cluster import ROOT, Slurm, wait_until
from mpi_end_job import ACKNOWLEDGED, LOGGED, RUN_ID
from mpis import MPICH

from ranklog.model.record import Metrics
from ranklog.testing import captured, series
from ranklog.view.query import RunView

JOBS = ROOT / "tests" / "world"


def run(slurm: Slurm, folder: Path, ranks: int, script: str, *arguments: str) -> str:
    """Run a script on two nodes; returns its output, with the status of srun in the last line."""
    words = " ".join([sys.executable, str(JOBS / script), *arguments])
    srun = f"srun --mpi=pmi2 --kill-on-bad-exit=1 {words}\necho status $?"
    variables = "\n".join(f"export {name}='{value}'" for name, value in MPICH.loading.items())
    job = slurm.submit_lines(folder, f"-t5 -N2 -n{ranks}", f"{variables}\n{srun}")
    slurm.wait(job)
    return (folder / "output").read_text(errors="replace")


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_world_is_that_of_mpich(ranks: int, slurm: Slurm, tmp_path: Path) -> None:
    output = run(slurm, tmp_path, ranks, "mpi_job.py", "multiple", "promises")
    assert "status 0" in output, output
    assert all(f"rank {rank}: promises ok" in output for rank in range(ranks)), output


def test_the_mean_over_both_nodes_is_journaled(slurm: Slurm, tmp_path: Path) -> None:
    output = run(slurm, tmp_path, 2, "mpi_job.py", "multiple", "log", str(tmp_path))
    assert "status 0" in output, output
    view = RunView(tmp_path / "runs" / "trained")
    assert sorted(view.ranks) == [0, 1]
    means = [record for record in captured(view.run_dir) if isinstance(record, Metrics)]
    assert {record.step: record.values["loss"] for record in means} == {step: step + 0.5 for step in range(20)}
    assert {(each.coverage.answered, each.coverage.world_size) for each in means if each.coverage} == {(2, 2)}


def test_slurm_ends_the_other_ranks_of_a_killed_one_after_their_values_are_journaled(
    slurm: Slurm, tmp_path: Path
) -> None:
    output = run(slurm, tmp_path, 2, "mpi_end_job.py", "killed", str(tmp_path))
    assert "status 0" not in output, output
    run_dir = tmp_path / "runs" / RUN_ID
    wait_until(lambda: [each.status for each in RunView(run_dir).summary.deliveries] == ["KILLED"], why=lambda: output)
    assert series(captured(run_dir), "own") == {step: float(step) for step in range(LOGGED)}, output
    assert all(step in series(captured(run_dir), "mean") for step in range(ACKNOWLEDGED))
