"""Ranks started by Open MPI, MPICH and Intel MPI are a world, and what is left when their job ends early is whole."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cluster import wait_until
from launch import Finished
from mpi_end_job import ACKNOWLEDGED, LOGGED, RUN_ID
from mpis import EACH, Mpi, finish

from ranklog.model.record import Metrics
from ranklog.testing import captured, series
from ranklog.view.query import RunView

JOB = Path(__file__).with_name("mpi_job.py")
END_JOB = Path(__file__).with_name("mpi_end_job.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(each.mpiexec.exists() for each in EACH) and os.environ.get("CI", "").lower() != "true",
        reason="Open MPI, MPICH or Intel MPI is not installed: run scripts/setup-runtimes.sh",
    ),
    pytest.mark.parametrize("ranks", [2, 3]),
]
on_each_mpi = pytest.mark.parametrize("mpi", EACH, ids=lambda mpi: mpi.name)


class Launched(msgspec.Struct, frozen=True):
    """A job whose ranks checked their world and then logged to a folder."""

    done: Finished
    savedir: Path

    def assert_held(self, ranks: int, trial: str) -> None:
        """The job has ended well, and a trial held on each rank."""
        assert self.done.code == 0, self.done.output
        for rank in range(ranks):
            assert f"rank {rank}: {trial} ok" in self.done.output, self.done.output


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Mpi, int], Launched]:
    """Runs one job per library and number of ranks."""
    known: dict[tuple[str, int], Launched] = {}

    def once(mpi: Mpi, ranks: int) -> Launched:
        if (mpi.name, ranks) not in known:
            savedir = tmp_path_factory.mktemp(mpi.name)
            done = mpi.run(ranks, JOB, "multiple", "promises,log", str(savedir))
            known[mpi.name, ranks] = Launched(done, savedir)
        return known[mpi.name, ranks]

    return once


class Ended:
    """What a job that ended early has left.

    Args:
        savedir: Its savedir.
        ranks: Its number of ranks.
    """

    def __init__(self, savedir: Path, ranks: int) -> None:
        self._ranks = ranks
        self._run_dir = savedir / "runs" / RUN_ID
        wait_until(lambda: [each.status for each in self.view.summary.deliveries] == ["KILLED"], why=self._found)

    def _found(self) -> str:
        return str(self.view.summary)

    @property
    def view(self) -> RunView:
        return RunView(self._run_dir)

    def check(self, *, up_to: int) -> None:
        """All means that `flush` acknowledged are there, and the values of rank 0 up to a step."""
        middle = (self._ranks - 1) / 2
        means = {
            record.step: (record.values["mean"], record.coverage.answered)
            for record in captured(self._run_dir)
            if isinstance(record, Metrics) and record.coverage is not None and record.step < ACKNOWLEDGED
        }
        assert means == {step: (step + middle, self._ranks) for step in range(ACKNOWLEDGED)}
        own = series(captured(self._run_dir), "own")
        assert {step: float(step) for step in range(up_to)}.items() <= own.items()


@on_each_mpi
def test_the_place_and_the_world_are_those_of_mpi(mpi: Mpi, ranks: int, launch: Callable[[Mpi, int], Launched]) -> None:
    launch(mpi, ranks).assert_held(ranks, "promises")


@on_each_mpi
def test_the_mean_over_all_ranks_is_journaled(mpi: Mpi, ranks: int, launch: Callable[[Mpi, int], Launched]) -> None:
    launched = launch(mpi, ranks)
    launched.assert_held(ranks, "log")
    means = [record for record in captured(launched.savedir / "runs" / "trained") if isinstance(record, Metrics)]
    assert {record.step: record.values["loss"] for record in means} == {
        step: step + (ranks - 1) / 2 for step in range(20)
    }
    assert {(each.coverage.answered, each.coverage.world_size) for each in means if each.coverage} == {(ranks, ranks)}


@on_each_mpi
def test_a_killed_rank_ends_the_job_and_the_journal_has_all_that_the_launcher_left_time_for(
    mpi: Mpi, ranks: int, tmp_path: Path
) -> None:
    done = mpi.run(ranks, END_JOB, "killed", str(tmp_path))
    assert done.code not in (0, 3), done.output
    Ended(tmp_path, ranks).check(up_to=LOGGED if mpi.sends_sigterm else ACKNOWLEDGED)


@on_each_mpi
def test_an_abort_ends_the_job_and_the_journal_has_all_that_the_launcher_left_time_for(
    mpi: Mpi, ranks: int, tmp_path: Path
) -> None:
    done = mpi.run(ranks, END_JOB, "aborted", str(tmp_path))
    assert done.code == 3, done.output
    Ended(tmp_path, ranks).check(up_to=LOGGED if mpi.sends_sigterm else ACKNOWLEDGED)


@on_each_mpi
def test_sigterm_to_the_launcher_reaches_every_rank_and_everything_is_journaled(
    mpi: Mpi, ranks: int, tmp_path: Path
) -> None:
    job = mpi.start(ranks, END_JOB, "stopped", str(tmp_path))
    assert job.stdout is not None
    ready = 0
    for line in job.stdout:
        ready += line.count("is ready")
        if ready == ranks:
            break
    job.send_signal(signal.SIGTERM)
    finish(job)
    Ended(tmp_path, ranks).check(up_to=LOGGED)
