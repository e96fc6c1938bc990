"""Every job script of `slurm/`, submitted as a user submits it, leaves one true run.

`test_pages` submits the scripts that a page of the documents uses: torchrun, array and requeue. `test_heterogeneous`
and tests/containers submit those of the same names.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cluster import ROOT, Slurm
from outcome import assert_facts, assert_whole, outputs, runs

SCRIPTS = ROOT / "slurm"
EXAMPLES = ROOT / "examples"
DIGITS = (EXAMPLES / "train_digits.py", "--epochs", "1", "--backends", "tensorboard")
RUNTIMES = (EXAMPLES / "runtimes" / "train.py",)


class Script(msgspec.Struct, frozen=True):
    """A job script, what it is given, and the ranks and nodes that its run must have."""

    name: str
    program: tuple[object, ...]
    ranks: int
    nodes: int
    launcher: str
    options: tuple[str, ...] = ()


ONE_RUN = [
    Script("srun", DIGITS, 4, 2, "torchrun"),
    Script("deepspeed", (*RUNTIMES, "deepspeed"), 2, 2, "torchrun"),
    # Ray Train tells nodes apart by their addresses, and here both have the same one.
    Script("ray", (*RUNTIMES, "ray", "--workers", "2"), 2, 1, "ray", ("--cpus-per-task=1",)),
]
MPI = Script("mpi", (*RUNTIMES, "mpi"), 2, 2, "slurm")
ELSEWHERE = {"torchrun", "array", "requeue", "container", "steps", "heterogeneous"}


def submit(slurm: Slurm, folder: Path, script: str, *words: object, options: tuple[str, ...] = (), **extra: str) -> str:
    """Submit a script of `slurm/` from a user's folder."""
    return slurm.submit(*options, SCRIPTS / f"{script}.sbatch", *map(str, words), cwd=folder, **extra)


def test_no_script_is_left_out() -> None:
    assert {path.stem for path in SCRIPTS.glob("*.sbatch")} == {script.name for script in (*ONE_RUN, MPI)} | ELSEWHERE


def assert_one_finished_run(script: Script, slurm: Slurm, folder: Path) -> None:
    """Submit a script; its run has finished, has all ranks, and reports its cost."""
    job = submit(slurm, folder, script.name, *script.program, options=script.options)
    told = slurm.wait(job)
    assert "JobState=COMPLETED" in told, outputs(folder)
    (view,) = runs(folder)
    assert_whole(view, script.ranks, script.nodes, script.launcher)
    assert_facts(view, job)
    assert len(view.attempts) == 1
    assert f"ranklog: run {view.summary.facts.run_id} FINISHED: 1 attempt; " in outputs(folder)


@pytest.mark.parametrize("script", ONE_RUN, ids=lambda script: script.name)
def test_it_gives_one_finished_run_of_all_ranks_with_full_coverage(
    script: Script, slurm: Slurm, tmp_path: Path
) -> None:
    assert_one_finished_run(script, slurm, tmp_path)


def test_mpi_over_the_pmix_of_slurm_gives_one_finished_run_too(slurm: Slurm, tmp_path: Path) -> None:
    assert_one_finished_run(MPI, slurm, tmp_path)


def test_steps_of_a_job_are_attempts_of_one_run(slurm: Slurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "steps", *DIGITS)
    slurm.wait(job)
    (view,) = runs(tmp_path)
    assert (view.summary.facts.run_id, view.summary.status) == (f"job-{job}", "FINISHED"), outputs(tmp_path)
    assert [attempt.place.world_size for attempt in view.attempts] == [2, 1]
    assert len(view.series("train/loss")) > 3 and not view.superseded("train/loss")
    assert [point.value for point in view.series("evaluation/accuracy")] == [0.97]
