"""Tasks of a job array are separate runs, and a task that is requeued resumes its own run."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import VENV, Slurm, wait_until
from part_job import STEPS_PER_ATTEMPT

from ranklog.journal.layout import find_runs
from ranklog.view.query import RunView

PROGRAM = Path(__file__).with_name("part_job.py")
TASKS = ("0", "1", "2")


def views_by_name(folder: Path) -> dict[str, RunView]:
    """Return the runs of `part_job` by the names that the job script gave them."""
    return {str(view.params["name"]): view for view in map(RunView, find_runs(folder / "runs"))}


def assert_attempts(view: RunView, attempts: int) -> None:
    """A run has finished, and its attempts form one continuous series."""
    assert view.summary.status == "FINISHED"
    assert [attempt.attempt for attempt in view.attempts] == list(range(attempts))
    expected = [step // STEPS_PER_ATTEMPT for step in range(attempts * STEPS_PER_ATTEMPT)]
    assert [(point.step, point.value) for point in view.series("loss")] == list(enumerate(expected))


@pytest.mark.both_slurms
def test_a_requeued_task_of_an_array_resumes_its_own_run_and_the_others_stay_alone(
    slurm: Slurm, tmp_path: Path
) -> None:
    train = f"exec srun -n1 {VENV}/bin/python {PROGRAM} {tmp_path} $SLURM_ARRAY_TASK_ID"
    options = f"-t5 -n1 --array={TASKS[0]}-{TASKS[-1]} --requeue --open-mode=append"
    array = slurm.submit_lines(tmp_path, options, train)
    # Slurm gives one task of an array the number of the array. This task and another one return to the queue.
    wait_until(lambda: all((tmp_path / f"logged-{task}-0").exists() for task in TASKS))
    jobs = {task: (tmp_path / f"logged-{task}-0").read_text() for task in TASKS}
    (named,) = (task for task in TASKS if jobs[task] == array)
    other, stays = (task for task in TASKS if task != named)
    for task in (other, named):
        slurm.ask("scontrol", "requeue", f"{array}_{task}")
        slurm.start_now(f"{array}_{task}")
    wait_until(lambda: all((tmp_path / f"logged-{task}-1").exists() for task in (named, other)))
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
