"""Jobs that a real Slurm requeues, or to which it sends signals, leave one continuous run."""

import sys
from pathlib import Path

from cluster import ROOT, Slurm, wait_until
from requeue_job import REQUEUES, STEPS
from wandb_reader import OfflineRun

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


def test_signals_to_every_process_end_neither_workers_nor_the_forwarder(slurm: Slurm, tmp_path: Path) -> None:
    train = f"srun -n1 {sys.executable} {Path(__file__).with_name('signalled_job.py')} {tmp_path}\necho status $?"
    job = slurm.submit_lines(tmp_path, "-t20 -n1 -c2", train)
    output = tmp_path / "output"

    def told() -> list[str]:
        return output.read_text().splitlines() if output.exists() else []

    names = ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGTERM")
    for before, name in zip(("ready", *names), names, strict=False):
        wait_until(lambda: any(line.startswith(before) for line in told()), why=lambda: "\n".join(told()))  # noqa: B023
        slurm.ask("scancel", f"--signal={name[3:]}", job)
    slurm.wait(job)
    lines = told()
    assert "status 99" in lines, lines
    delivers = {mark: pids for mark, *pids in map(str.split, lines) if mark in ("ready", *names)}
    forwarder, wandb = delivers["ready"]
    assert all(pids[0] == forwarder for pids in delivers.values()), lines
    # W&B's own process ends itself at SIGINT and SIGTERM, whatever it inherits; it is followed by another one.
    assert all(delivers[name][1] == wandb for name in names[:3]), lines
    (run_dir,) = find_runs(tmp_path)
    view = RunView(run_dir)
    assert view.end is not None
    assert (view.end.status, view.end.reason) == ("KILLED", "exit status 99 after SIGTERM")
    assert [delivery.status for delivery in view.summary.deliveries] == ["KILLED", "KILLED"]
    assert not [event for event in view.events if event.code == "forwarder"]
    assert [point.step for point in view.series("loss")] == list(range(6))
    (offline,) = tmp_path.rglob("run-*.wandb")
    assert [step for step, _ in OfflineRun(offline).rows("loss")] == list(range(6))
