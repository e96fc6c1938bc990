"""Tasks of a job array are separate runs, and a task that is requeued resumes its own run."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import ROOT, Slurm, wait_until
from outcome import assert_attempts, outputs, views_by_name

from ranklog.journal.layout import find_runs

PROGRAM = Path(__file__).with_name("part_job.py")
TASKS = ("0", "1", "2")


@pytest.mark.both_slurms
def test_a_requeued_task_of_an_array_resumes_its_own_run_and_the_others_stay_alone(
    slurm: Slurm, tmp_path: Path
) -> None:
    options = (f"--array={TASKS[0]}-{TASKS[-1]}", "--nodes=1", "--cpus-per-task=1")
    script = ROOT / "slurm" / "requeue.sbatch"
    array = slurm.submit(*options, script, PROGRAM, tmp_path, cwd=tmp_path, RANKLOG_DIR=f"{tmp_path}/runs")

    def wait_for_attempt(number: int, *tasks: str) -> None:
        logged = [tmp_path / f"logged-{task}-{number}" for task in tasks]
        wait_until(lambda: all(path.exists() for path in logged), why=lambda: outputs(tmp_path))

    wait_for_attempt(0, *TASKS)
    jobs = {task: (tmp_path / f"logged-{task}-0").read_text() for task in TASKS}
    # Slurm gives one task of an array the number of the array. This task and another one return to the queue.
    (named,) = (task for task in TASKS if jobs[task] == array)
    other, stays = (task for task in TASKS if task != named)
    for task in (named, other):
        (tmp_path / f"requeue-{task}").touch()
    for task in (named, other):
        slurm.start_now(f"{array}_{task}")
    wait_for_attempt(1, named, other)
    for task in TASKS:
        (tmp_path / f"finish-{task}").touch()
    slurm.wait(array)

    views = views_by_name(tmp_path)
    assert len(views) == len(list(find_runs(tmp_path / "runs"))) == len(TASKS)
    for task, attempts in ((named, 2), (other, 2), (stays, 1)):
        assert_attempts(views[task], attempts)
        assert [job.facts["array_task"] for job in views[task].jobs.values()] == [task] * attempts
        assert views[task].attempts[-1].place.job_id == jobs[task]
        assert views[task].summary.facts.group == f"array-{array}"
