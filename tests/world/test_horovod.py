"""Ranks started by horovodrun communicate next to the user's operations, and never delay these."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ranklog.model.record import Metrics
from ranklog.testing import captured

JOB = Path(__file__).with_name("horovod_job.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("horovod") is None, reason="Horovod is not installed: scripts/build-horovod.sh VENV"
    ),
]


def run_job(ranks: int, trials: str, *arguments: str) -> str:
    """Start the job as a user does; returns its output."""
    command = [sys.executable, "-m", "horovod.runner.launch", "-np", str(ranks), "-H", f"localhost:{ranks}"]
    # Without --gloo the launcher starts another process that imports torch, to look for MPI.
    command += ["--gloo", "--network-interfaces", "lo", sys.executable, str(JOB), trials, *arguments]
    process = subprocess.Popen(
        command,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "HOROVOD_GLOO_TIMEOUT_SECONDS": "120",  # Horovod's default of 30 s is short on a busy machine
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # the launcher ends its ranks, which are in sessions of their own
        try:
            output, _ = process.communicate(timeout=120)
        finally:
            process.kill()
        pytest.fail(f"the job hung; its output so far:\n{output}")
    assert process.returncode == 0, output
    for trial in trials.split(","):
        assert_held(output, ranks, trial)
    return output


def assert_held(output: str, ranks: int, trial: str) -> None:
    for rank in range(ranks):
        assert f"rank {rank}: {trial} ok" in output, output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("horovod")


@pytest.fixture(scope="module")
def of_two_ranks(folder: Path) -> str:
    """Output of one job of two ranks. The trial that calls ``hvd.join()`` is last: operations after it did not end."""
    return run_job(2, "promises,late,without_server,log", str(folder))


def test_horovod_keeps_the_promises_with_two_ranks(of_two_ranks: str) -> None:
    assert_held(of_two_ranks, 2, "promises")


def test_horovod_keeps_the_promises_with_three_ranks() -> None:
    run_job(3, "promises")


def test_ranks_that_log_alone_hold_up_neither_training_nor_its_end() -> None:
    run_job(2, "some_ranks_alone")


def test_a_rank_that_has_given_up_may_connect_later(of_two_ranks: str) -> None:
    assert_held(of_two_ranks, 2, "late")


def test_a_logger_that_rank_0_alone_has_left_open_lets_the_job_end(tmp_path: Path) -> None:
    run_job(2, "left_open", str(tmp_path))


def test_without_horovods_own_launcher_the_error_says_what_to_do(of_two_ranks: str) -> None:
    assert_held(of_two_ranks, 2, "without_server")


def test_a_rank_that_ends_early_is_an_error_in_time_on_the_others() -> None:
    run_job(2, "exit_early")


def test_ranks_keep_communicating_after_horovod_is_shut_down() -> None:
    run_job(2, "shut_down")


def test_a_mean_over_both_ranks_is_journaled_while_one_of_them_has_joined(of_two_ranks: str, folder: Path) -> None:
    assert_held(of_two_ranks, 2, "log")
    means = [record for record in captured(folder / "runs" / "trained") if isinstance(record, Metrics)]
    assert {record.step: record.values["loss"] for record in means if "loss" in record.values} == {0: 2, 1: 3, 2: 4}
    for record in means:
        if "loss" in record.values:
            assert record.coverage is not None
            assert (record.coverage.answered, record.coverage.world_size) == (2, 2)
