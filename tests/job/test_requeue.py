"""A requeued job, or one restarted by torchrun, resumes its run. Other jobs make new runs."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranklog import JournalLogger
from ranklog.job.opened_runs import OpenedRuns
from ranklog.job.requeue import job_key, next_run
from ranklog.journal.liveness import this_host
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt
from ranklog.view.query import RunView


def opened_by(lives: list[list[int]]) -> list[list[str]]:
    """The runs that programs open, which start anew with each attempt; each int is an attempt's number of runs."""
    state: OpenedRuns | None = None
    out: list[list[str]] = []
    count = 0
    for life in lives:
        for attempt, runs in enumerate(life):
            mine = []
            for _ in range(runs):
                run, state = next_run(state, attempt, f"new-{count}")
                count += 1
                mine.append(run)
            out.append(mine)
    return out


def test_each_attempt_opens_the_same_runs_in_the_same_order_and_then_new_ones() -> None:
    assert opened_by([[2, 1, 3]]) == [["new-0", "new-1"], ["new-0"], ["new-0", "new-1", "new-5"]]


def test_a_new_job_with_the_id_of_an_old_one_makes_new_runs() -> None:
    first, second, third, fourth = opened_by([[1, 1], [1, 1]])
    assert first == second
    assert third == fourth
    assert first != third


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_no_attempt_opens_a_run_twice_or_a_different_run_at_the_same_position(life: list[int]) -> None:
    attempts = opened_by([life])
    for runs in attempts:
        assert len(set(runs)) == len(runs)
    for place in range(4):
        assert len({runs[place] for runs in attempts if len(runs) > place}) <= 1


@pytest.mark.parametrize(
    ("environ", "place", "expected"),
    [
        ({}, Place(), None),
        ({"SLURM_JOB_ID": "7"}, Place(), "slurm|7|batch|"),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "4294967291", "SLURM_PROCID": "0"}, Place(), "slurm|7|batch|"),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2", "SLURM_PROCID": "0"}, Place(world_size=4), "slurm|7|2|"),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2", "SLURM_PROCID": "3"}, Place(), "slurm|7|2|3"),
        ({"TORCHELASTIC_RUN_ID": "none"}, Place(), "elastic|none|agent"),
        ({"TORCHELASTIC_RUN_ID": "mine"}, Place(), "elastic|mine|"),
    ],
)
def test_keys_distinguish_jobs_and_are_equal_for_attempts_of_one(
    environ: dict[str, str], place: Place, expected: str | None
) -> None:
    assert job_key(environ, place, "agent") == expected


def test_components_keep_their_keys_when_a_requeue_swaps_the_numbers_of_their_steps() -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_HET_SIZE": "2"}
    nodes = {"SLURM_JOB_NODELIST_HET_GROUP_0": "n1", "SLURM_JOB_NODELIST_HET_GROUP_1": "n[2-3]"}
    moved = {"SLURM_JOB_NODELIST_HET_GROUP_0": "n4", "SLURM_JOB_NODELIST_HET_GROUP_1": "n[1-2]"}

    def key(nodes: dict[str, str], here: str, step: str) -> str | None:
        environ = {**job, **nodes, "SLURM_JOB_NODELIST": here, "SLURM_STEP_ID": step}
        return job_key(environ, Place(world_size=2), "agent")

    before = [key(nodes, "n1", "0"), key(nodes, "n[2-3]", "1")]
    after = [key(moved, "n4", "1"), key(moved, "n[1-2]", "0")]
    assert before == after and len(set(before)) == 2
    assert key(nodes, "n[1-3]", "0") == "slurm|7|0|", "a step over several components"


@pytest.fixture
def start_other() -> Iterator[Callable[[Path], None]]:
    """Begins an attempt of a run in the name of another process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def start(run_dir: Path) -> None:
        attempt = Attempt(PROTOCOL, run_dir.name, 1, Place(), this_host(), process.pid, time.time_ns(), ())
        JournalWriter(run_dir, attempt).close()

    yield start
    process.kill()
    process.wait(120)


def train(savedir: Path, first: int, last: int) -> str:
    logger = JournalLogger(savedir)
    with logger.start_logging():
        for step in range(first, last):
            logger.log(float(first), "loss", step=step)
        return logger.ranklog_run_id


def test_a_job_requeued_three_times_from_earlier_checkpoints_is_one_run_with_one_continuous_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    runs = []
    for restart, (first, last) in enumerate([(0, 50), (30, 70), (60, 65), (60, 100)]):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        runs.append(train(tmp_path, first, last))
    assert len(set(runs)) == 1
    view = RunView(tmp_path / "runs" / runs[0])
    assert [point.step for point in view.series("loss")] == list(range(100))
    assert [point.value for point in view.series("loss")] == [0.0] * 30 + [30.0] * 30 + [60.0] * 40
    assert len(view.superseded("loss")) == 20 + 10 + 5
    assert [(a.attempt, a.place.job_id, a.place.attempt) for a in view.attempts] == [
        (number, "4711", number) for number in range(4)
    ]


def test_another_program_of_the_attempt_and_another_job_make_new_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    runs = [train(tmp_path, 0, 2), train(tmp_path, 0, 2)]
    monkeypatch.setenv("SLURM_JOB_ID", "2")
    runs.append(train(tmp_path, 0, 2))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert train(tmp_path, 0, 2) == runs[2]
    assert len(set(runs)) == 3


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_parallel_steps_of_one_script_keep_their_runs_when_requeues_swap_their_numbers(
    order: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    runs: dict[str, set[str]] = {"--lr=1": set(), "--lr=2": set()}
    for restart, steps in enumerate([("0", "1"), ("1", "0"), ("1", "0"), ("0", "1")]):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        for index in order:
            argument = list(runs)[index]
            monkeypatch.setattr("sys.argv", ["train.py", argument])
            monkeypatch.setenv("SLURM_STEP_ID", steps[index])
            monkeypatch.setenv("SLURM_PROCID", "0")
            monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
            runs[argument].add(train(tmp_path, 0, 2))
    assert [len(each) for each in runs.values()] == [1, 1]
    assert len(set.union(*runs.values())) == 2


def test_a_step_continues_its_run_if_a_requeue_gives_its_program_other_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    monkeypatch.setattr("sys.argv", ["train.py"])
    run = train(tmp_path, 0, 2)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr("sys.argv", ["train.py", "--resume"])
    assert train(tmp_path, 0, 2) == run


def test_the_environment_may_name_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOG_RUN_ID", "named")
    monkeypatch.setattr("ranklog.job.requeue._named", 0)
    assert [train(tmp_path, 0, 2), train(tmp_path, 0, 2)] == ["named", "named-2"]


def test_a_resumed_run_says_once_that_metrics_without_a_step_count_anew(tmp_path: Path) -> None:
    for attempt in range(2):
        logger = JournalLogger(tmp_path, run_id="again")
        with warnings.catch_warnings(record=True) as told, logger.start_logging():
            warnings.simplefilter("always")
            logger.log(1.0, "loss")
            logger.log(1.0, "loss")
        assert [str(each.message).count("give step=") for each in told] == [1] * attempt


def test_a_run_that_another_process_still_writes_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_other: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    first = train(tmp_path, 0, 2)
    start_other(tmp_path / "runs" / first)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert train(tmp_path, 0, 2) != first
