"""A signal that announces the end of a job brings the journal up to date and changes nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launch import Ranks, job_environment

from ranklog import JournalLogger
from ranklog.job.scheduler import time_left
from ranklog.model.errors import InvalidArgumentError
from ranklog.process.signals import check_signals
from ranklog.testing import captured, series
from ranklog.view.query import RunView

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("signal_job.py")
ALL = {step: float(step) for step in range(100)}


class Job:
    """One process of `signal_job`."""

    def __init__(self, case: str, savedir: Path) -> None:
        self.savedir = savedir
        self.process = subprocess.Popen(
            [sys.executable, str(JOB), case, str(savedir)],
            env=job_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = []
        for line in self.process.stdout:
            self.said.append(line.strip())
            if self.said[-1] == "ready":
                break

    def end(self, number: signal.Signals | None = None, pid: int | None = None) -> list[str]:
        """Send a signal, wait for the end; returns what the job said after that."""
        if number is not None:
            os.kill(pid or self.process.pid, number)
        output, self.errors = self.process.communicate(timeout=60)
        return str(output).split("\n")[:-1]

    @property
    def loss(self) -> dict[int, float]:
        return series(captured(self.savedir / "runs" / "signalled"), "loss")

    @property
    def view(self) -> RunView:
        return RunView(self.savedir / "runs" / "signalled")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[list[Job]]:
    started: list[Job] = []
    yield started
    for job in started:
        job.process.kill()


def start(case: str, tmp_path: Path, jobs: list[Job]) -> Job:
    jobs.append(Job(case, tmp_path))
    return jobs[-1]


def test_sigterm_ends_the_process_as_ever_with_everything_logged_in_the_journal(
    tmp_path: Path, jobs: list[Job]
) -> None:
    job = start("plain", tmp_path, jobs)
    job.end(signal.SIGTERM)
    assert job.process.returncode == -signal.SIGTERM
    assert job.loss == ALL
    assert job.view.summary.status == "KILLED"
    assert [event.text for event in job.view.events if event.code == "signal"] == ["SIGTERM received"]


@pytest.mark.slow
def test_sigterm_inside_a_collective_brings_the_journal_up_to_date_and_ends_the_process(tmp_path: Path) -> None:
    ranks = Ranks(2, JOB, "collective", str(tmp_path), cwd=tmp_path)
    try:
        assert ranks.wait_for_line(0) == "ready\n"
        ranks.send(0, signal.SIGTERM)
        assert ranks.finish([0])[0].code == -signal.SIGTERM
    finally:
        ranks.kill()
    assert series(captured(tmp_path / "runs" / "signalled"), "loss") == ALL


def test_a_handler_set_before_runs_and_the_program_goes_on_to_its_own_end(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("earlier_handler", tmp_path, jobs)
    assert job.end(signal.SIGTERM) == ["earlier handler", "handler put back: True"]
    assert (job.process.returncode, job.view.summary.status, job.loss) == (0, "FINISHED", ALL)


def test_a_handler_set_after_the_logger_decides_how_the_program_ends_also_when_it_is_gone_at_once(
    tmp_path: Path, jobs: list[Job]
) -> None:
    job = start("later_handler", tmp_path, jobs)
    assert job.end(signal.SIGTERM) == ["later handler", "own ending"]
    assert (job.process.returncode, job.view.summary.status, job.loss) == (0, "FINISHED", ALL)


def test_sigterm_ends_a_program_whose_closed_logger_had_its_handler_put_back(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("closed_below_another_handler", tmp_path, jobs)
    job.end(signal.SIGTERM)
    assert (job.process.returncode, job.view.summary.status, job.loss) == (-signal.SIGTERM, "FINISHED", ALL)


def test_a_later_handler_decides_also_when_a_callback_closes_the_logger(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("closed_by_a_callback_of_another_handler", tmp_path, jobs)
    assert job.end(signal.SIGTERM) == ["later handler", "own ending"]
    assert (job.process.returncode, job.view.summary.status, job.loss) == (0, "FINISHED", ALL)


def test_a_callback_saves_in_the_main_thread_before_sigterm_ends_the_process(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("callback", tmp_path, jobs)
    assert job.end(signal.SIGTERM) == ["saved in MainThread"]
    assert job.process.returncode == -signal.SIGTERM
    assert [point.value for point in job.view.series("saved")] == [1.0]
    assert job.loss == ALL


def test_sigusr1_calls_the_callback_and_training_goes_on(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("usr1", tmp_path, jobs)
    job.end(signal.SIGUSR1)
    assert (job.process.returncode, job.view.summary.status, job.loss) == (0, "FINISHED", ALL)
    assert [point.value for point in job.view.series("after")] == [1.0]


def test_a_callback_that_exits_ends_the_program_in_its_own_way(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("leaving", tmp_path, jobs)
    job.end(signal.SIGTERM)
    assert (job.process.returncode, job.view.summary.status, job.loss) == (0, "FINISHED", ALL)


def test_a_callback_may_close_the_logger_and_sigterm_still_ends_the_process(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("closing", tmp_path, jobs)
    job.end(signal.SIGTERM)
    assert (job.process.returncode, job.view.summary.status, job.loss) == (-signal.SIGTERM, "FINISHED", ALL)


def test_an_event_loop_that_takes_the_wakeup_descriptor_takes_nothing_from_the_journal(
    tmp_path: Path, jobs: list[Job]
) -> None:
    job = start("asyncio_loop", tmp_path, jobs)
    job.end(signal.SIGTERM)
    assert job.process.returncode == -signal.SIGTERM
    assert job.loss == ALL
    assert [event.text for event in job.view.events if event.code == "signal"] == ["SIGTERM received"]


def test_a_wakeup_descriptor_set_before_gets_its_bytes_and_is_put_back(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("wakeup_descriptor", tmp_path, jobs)
    assert job.end(signal.SIGTERM) == [f"byte {signal.SIGTERM}", "descriptor put back: True"]


def test_a_forked_child_ends_at_sigterm_and_the_parent_hears_nothing_of_it(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("forked", tmp_path, jobs)
    child = next((line for line in job.said if line.startswith("child ")), None)
    if child is None:
        assert job.process.stdout is not None
        child = job.process.stdout.readline()
    assert job.end(signal.SIGTERM, int(child.split()[1]))[-1] == "child ended by signal 15"
    assert (job.process.returncode, job.view.summary.status, job.loss) == (0, "FINISHED", ALL)
    assert not [event for event in job.view.events if event.code == "signal"]


def test_a_program_that_exits_with_a_status_has_failed(tmp_path: Path, jobs: list[Job]) -> None:
    job = start("exit_status", tmp_path, jobs)
    job.end()
    assert job.process.returncode == 3
    assert job.view.end is not None
    assert (job.view.end.status, job.view.end.reason) == ("FAILED", "exit status 3")


def test_other_signals_than_those_that_announce_an_end_are_refused(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path)
    with logger.start_logging():
        with pytest.raises(InvalidArgumentError, match="SIGTERM, SIGUSR1, SIGUSR2"):
            logger.on_preempt(lambda: None, signals=["SIGKILL"])
        with pytest.raises(InvalidArgumentError, match="function without arguments"):
            logger.on_preempt("save")  # type: ignore[arg-type]
    assert check_signals("SIGTERM") == (signal.SIGTERM,)


def test_the_time_left_is_what_slurm_says_and_none_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert time_left() is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 600))
    left = time_left()
    assert left is not None
    assert 590 < left <= 600
