"""What a real Slurm does to a job while it runs: it is requeued, or told that its time limit is near."""

import sys
from pathlib import Path

from cluster import ROOT, Slurm, wait_until
from requeue_job import REQUEUES, STEPS

from ranklog.journal.layout import find_runs
from ranklog.view.query import RunView

JOBS = ROOT / "tests" / "jobs"


def test_a_job_that_is_requeued_three_times_is_one_run_with_one_continuous_series(slurm: Slurm, tmp_path: Path) -> None:
    train = f"srun -n1 {sys.executable} {JOBS / 'requeue_job.py'} {tmp_path}"
    job = slurm.submit_lines(tmp_path, "-t5 -n1 --requeue --open-mode=append", train)
    for attempt in range(REQUEUES):
        wait_until((tmp_path / f"left-{attempt}").exists)
        slurm.ask("scontrol", "requeue", job)
        slurm.start_now(job)
    slurm.wait(job)

    (run_dir,) = find_runs(tmp_path)
    view = RunView(run_dir)
    assert view.summary.status == "FINISHED", (tmp_path / "output").read_text()
    assert [(a.attempt, a.place.job_id, a.place.attempt) for a in view.attempts] == [
        (number, job, number) for number in range(REQUEUES + 1)
    ]
    points = view.series("loss")
    assert [point.step for point in points] == list(range(STEPS))
    # Each attempt came to step first + 11, and its checkpoint was 5 steps behind that.
    firsts = [6 * attempt for attempt in range(REQUEUES + 1)]
    expected = [max(a for a, first in enumerate(firsts) if first <= step) for step in range(STEPS)]
    assert [point.value for point in points] == expected
    assert len(view.superseded("loss")) == 6 * REQUEUES
    left = view.series("time_left")
    assert [point.step for point in left] == list(range(REQUEUES + 1))
    assert all(0 < point.value <= 300 for point in left)


def test_the_signal_that_slurm_sends_before_the_time_limit_calls_the_callback(slurm: Slurm, tmp_path: Path) -> None:
    train = f"exec {sys.executable} {JOBS / 'signal_job.py'} usr1 {tmp_path}"
    job = slurm.submit_lines(tmp_path, "-t20 -n1 --signal=B:USR1@115", train)
    wait_until(lambda: (tmp_path / "output").exists() and "ready" in (tmp_path / "output").read_text())
    # Less than 115 s are left then.
    slurm.ask("scontrol", "update", f"JobId={job}", "TimeLimit=2")
    slurm.wait(job)
    view = RunView(tmp_path / "runs" / "signalled")
    assert view.summary.status == "FINISHED", (tmp_path / "output").read_text()
    assert [point.value for point in view.series("after")] == [1.0]
