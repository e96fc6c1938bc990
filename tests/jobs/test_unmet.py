"""Ranks that do not meet, or lose the store that they meet over: a warning after one time limit, while they train."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import wait_until
from launch import Ranks

from ranklog.journal.spill_file import spill_files
from ranklog.model.record import Metrics
from ranklog.pipeline.reduction.merge import append_merged
from ranklog.testing import captured
from ranklog.view.query import RunView

pytest.importorskip("torch.distributed")
pytestmark = pytest.mark.slow
JOB = Path(__file__).with_name("unmet_job.py")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Ranks]]:
    """Starts the two ranks of a case; kills those that are left."""
    jobs: list[Ranks] = []

    def start(case: str) -> Ranks:
        jobs.append(Ranks(2, JOB, case, cwd=tmp_path, RANKLOG_REDUCE_TIMEOUT="2"))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()


def await_line(job: Ranks, rank: int, text: str) -> str:
    """Wait until a rank prints a line with a text."""
    while text not in (line := job.wait_for_line(rank)):
        assert line, f"rank {rank} ended without a line with {text!r}"
    return line


@pytest.mark.parametrize(
    ("case", "sent", "reason"),
    [
        ("first", signal.SIGSTOP, "the store of the process group does not answer"),
        ("first", signal.SIGKILL, "the store of the process group does not answer"),
        ("no-group", None, "no process group was initialised"),
    ],
    ids=["rank-0-stopped", "rank-0-killed", "no-group"],
)
def test_a_rank_that_cannot_meet_rank_0_warns_while_it_trains_and_counts_what_is_lost(
    case: str, sent: signal.Signals | None, reason: str, start: Callable[[str], Ranks], tmp_path: Path
) -> None:
    job = start(case)
    await_line(job, 1, "ready")
    if sent is not None:
        await_line(job, 0, "ready")
        job.send(0, sent)
        (tmp_path / "lost").touch()
    assert reason in await_line(job, 1, "ranks cannot be reached")
    assert not (tmp_path / "enough").exists()
    (tmp_path / "enough").touch()
    ended = job.finish([1])[1]
    assert (ended.code, "values did not reach rank 0" in ended.output) == (0, True), ended.output


def test_the_run_of_a_rank_0_that_meets_nobody_says_so_while_it_is_open(
    start: Callable[[str], Ranks], tmp_path: Path
) -> None:
    job = start("one-logger")
    await_line(job, 0, "1 of 2 ranks did not join: rank 1")
    run_dir = tmp_path / "logs" / "runs" / "unmet"
    wait_until(lambda: any("1 of 2 ranks did not join" in event.text for event in RunView(run_dir).events))
    wait_until(lambda: any("1 of 2 ranks did not join" in loss for loss in RunView(run_dir).summary.losses))
    assert RunView(run_dir).end is None
    (tmp_path / "enough").touch()
    assert job.finish([0])[0].code == 0


def test_values_are_kept_while_the_rank_that_serves_the_store_is_stopped(
    start: Callable[[str], Ranks], tmp_path: Path
) -> None:
    job = start("later")
    run_dir = tmp_path / "logs" / "runs" / "unmet"
    wait_until(lambda: run_dir.exists() and any(isinstance(record, Metrics) for record in captured(run_dir)))
    job.send(0, signal.SIGSTOP)
    wait_until(lambda: any(file.rank == 1 for file in spill_files(run_dir)))
    (tmp_path / "enough").touch()
    assert job.finish([1])[1].code == 0
    job.kill()
    append_merged(run_dir)
    steps = {record.step for record in captured(run_dir) if isinstance(record, Metrics)}
    assert steps >= set(range(int((tmp_path / "steps-1").read_text())))
