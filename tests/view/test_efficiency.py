"""Efficiency and outlook of a run follow from its records."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ranklog.cli import watch as watching
from ranklog.cli.run_text import outlook_text
from ranklog.model.facts import JobFacts
from ranklog.model.record import End, Metrics
from ranklog.view.efficiency import Efficiency, efficiency, efficiency_text
from ranklog.view.outlook import Outlook, outlook
from ranklog.view.query import RunView

S = 10**9
BASE = 2**62 // S  # later than now, so that the attempts' own times of start do not count


def job(*, submitted: int | None, started: int | None, ends: int | None = None, step: str = "0") -> JobFacts:
    ns = [None if each is None else (BASE + each) * S for each in (submitted, started, ends)]
    return JobFacts(BASE * S, ("train.py",), "/", {}, None, "slurm", {"job": "7", "step": step}, *ns)


def metrics(step: int, at: int, **values: float) -> Metrics:
    return Metrics(step, (BASE + at) * S, -1, values)


@pytest.fixture
def requeued(start_attempt, tmp_path: Path) -> RunView:
    """Two jobs: 0 to 100 s and 150 to 260 s; the second goes back from step 8 to step 5."""
    first = start_attempt()
    first.append([job(submitted=-30, started=0)])
    first.append([metrics(step, 20 + 10 * step, loss=1.0) for step in range(8)])
    first.append([metrics(99, 100, other=1.0)])
    first.close()
    second = start_attempt(attempt=1)
    second.append([job(submitted=100, started=150)])
    second.append([metrics(step, 120 + 10 * step, loss=0.5) for step in range(5, 14)])
    second.append([End("FINISHED", (BASE + 260) * S)])
    second.close()
    return RunView(tmp_path / "run-a")


def test_efficiency_counts_queue_startup_lost_steps_and_goodput(requeued):
    found = efficiency(requeued)
    # First attempt: 100 s, of these 20 s to its first metric, "other" at its end still counts. Second: 110 s, 20 s
    # to its first metric, the last at 250 s.
    assert found == Efficiency(
        attempts=2,
        queued_s=80.0,
        whole_s=210.0,
        startup_s=40.0,
        lost_s=0.0,
        steps=14,
        lost_steps=3,
        goodput=(80 + 80) / 210,
    )
    assert efficiency_text(found) == (
        "2 attempts; 1 min 20 s in the queue; 3 min 30 s running, 40 s before the first metrics; 3 of 17 steps done"
        " twice; goodput 76%"
    )


def test_time_after_the_last_step_that_counts_is_lost_when_a_later_attempt_goes_back(start_attempt, tmp_path):
    first = start_attempt()
    first.append([job(submitted=None, started=0), *(metrics(step, 10 * step, loss=1.0) for step in range(11))])
    first.close()
    second = start_attempt(attempt=1)
    second.append([job(submitted=None, started=200), *(metrics(step, 200 + step, loss=1.0) for step in range(6, 8))])
    second.close()
    found = efficiency(RunView(tmp_path / "run-a"))
    assert (found.lost_s, found.lost_steps, found.queued_s) == (50.0, 5, None)
    assert found.goodput == pytest.approx(51 / 107)


def test_a_correction_of_the_same_attempt_is_no_lost_step(start_attempt, tmp_path):
    start_attempt().append([metrics(0, 0, loss=1.0), msgspec.structs.replace(metrics(0, 1, loss=2.0), corrects=True)])
    assert efficiency(RunView(tmp_path / "run-a")).lost_steps == 0


def test_a_later_step_of_a_job_is_not_charged_with_the_time_before_it(start_attempt, tmp_path):
    writer = start_attempt()
    writer.append([job(submitted=-500, started=-400, step="3"), metrics(0, 0, loss=1.0)])
    begun_ns = RunView(tmp_path / "run-a").attempts[0].time_ns
    assert efficiency(RunView(tmp_path / "run-a")).whole_s == pytest.approx(BASE - begun_ns / 1e9)


def test_the_rarest_metric_predicts_whether_the_epoch_will_finish(start_attempt, tmp_path):
    writer = start_attempt()
    writer.append([job(submitted=0, started=0, ends=1000)])
    writer.append([metrics(step, 10 * step, loss=1.0) for step in range(61)])
    writer.append([metrics(epoch, 200 * (epoch + 1), val=1.0) for epoch in range(3)])
    found = outlook(RunView(tmp_path / "run-a"))
    assert (found.metric, found.step, found.interval_s, found.fit) == ("val", 2, 200.0, 2)
    assert found.due_ns == (BASE + 800) * S
    assert "val is logged about every 3 min 20 s" in outlook_text(found).plain
    assert outlook_text(found).plain.endswith("; 2 more before the job ends")


def test_an_epoch_that_does_not_fit_is_reported_with_the_cure(start_attempt, tmp_path):
    writer = start_attempt()
    writer.append([job(submitted=0, started=0, ends=700), *(metrics(e, 200 * (e + 1), val=1.0) for e in range(3))])
    assert outlook_text(outlook(RunView(tmp_path / "run-a"))).plain.endswith(
        "after the job ends: save a checkpoint before"
    )


def test_without_a_scheduler_or_enough_points_there_is_no_forecast(start_attempt, tmp_path):
    start_attempt().append([metrics(0, 0, loss=1.0), metrics(1, 1, loss=1.0)])
    found = outlook(RunView(tmp_path / "run-a"))
    assert (found.ends_ns, found.metric, outlook_text(found)) == (None, "", None)


def test_the_watched_screen_fits_into_the_terminal(start_attempt, tmp_path):
    from rich.console import Console

    start_attempt().append([metrics(0, 0, **{f"m{number}": 1.0 for number in range(40)})])
    console = Console(width=100, height=12, force_terminal=True, color_system=None)
    with console.capture() as caught:
        console.print(watching.screen(RunView(tmp_path / "run-a"), 12))
    lines = caught.get().rstrip("\n").splitlines()
    assert len(lines) <= 12 and lines[-1].startswith("and ")


def test_a_metric_that_is_late_was_expected_in_the_past():
    late, soon = (Outlook(ends_ns=None, metric="val", interval_s=9.0, due_ns=due) for due in (1, 2**62))
    assert "every 9 s, was expected at 1970-01-01" in outlook_text(late).plain
    assert "every 9 s, next at " in outlook_text(soon).plain
