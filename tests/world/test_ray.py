"""Ray Train's workers reduce through torch's group or an actor; what Ray starts for itself is rank 0 of 1."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray_head

from ranklog.journal.layout import find_runs
from ranklog.model.record import Attempt, End, Metrics
from ranklog.testing import captured, series
from ranklog.testing.conformance import CHECKS
from ranklog.world.ray import strategy as ray
from ranklog.world.ray.rendezvous import GATHER, Rendezvous

JOB = Path(__file__).with_name("ray_job.py")
LIMIT_S = 400
PROMISES = {*CHECKS, "beside the user's collectives", "absent ranks", "time limit", "close"}
SLURM_STEP = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_LOCALID": "0", "SLURM_NODEID": "1",
}  # fmt: skip

with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='Ray is not installed: pip install "ray[train]"'
)


def run_job(mode: str, folder: Path, **extra: str) -> None:
    """Run the job as a driver of the shared Ray cluster."""
    driver = subprocess.Popen(
        [sys.executable, str(JOB), mode, str(folder)], env=ray_head.of_driver({**os.environ, **extra}),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = driver.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        driver.kill()  # Ray ends the workers of a driver that is gone
        pytest.fail(f"the job hangs: {driver.communicate()[0]}")
    assert driver.returncode == 0, output
    assert output.rstrip().endswith("done"), output


def runs_of(folder: Path) -> list[Path]:
    return list(find_runs(folder))


def means_are_right(folder: Path) -> None:
    (run,) = runs_of(folder)
    records = captured(run)
    assert series(records, "loss") == {step: step + 0.5 for step in range(10)}
    for record in records:
        if isinstance(record, Metrics):
            assert record.coverage is not None
            assert (record.coverage.answered, record.coverage.world_size, record.coverage.contributed) == (2, 2, 2)


@with_ray
@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 60)
@pytest.mark.parametrize("version", ["1", "2"])
def test_workers_of_a_torch_trainer_reduce_through_its_group(version: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run_job("torch", tmp_path, RAY_TRAIN_V2_ENABLED=str(int(version == "2")))
    for rank in range(2):
        assert set(json.loads((tmp_path / f"rank{rank}.json").read_text())) >= PROMISES
    means_are_right(tmp_path)


@with_ray
@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 60)
def test_workers_without_torch_reduce_through_an_actor_also_when_it_ends_and_when_train_restarts_them(
    tmp_path: Path,
) -> None:
    run_job("actor", tmp_path)
    for rank in range(2):
        assert "the actor that connects the ranks has ended" in (tmp_path / f"actor-ended{rank}.json").read_text()
        assert set(json.loads((tmp_path / f"rank{rank}.json").read_text())) >= PROMISES
    means_are_right(tmp_path)
    (run,) = runs_of(tmp_path)
    ends = [record.status for record in captured(run) if isinstance(record, End)]
    assert ends == ["FAILED", "FINISHED"], "both attempts are one run"


@with_ray
@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 60)
def test_parallel_trials_in_a_slurm_step_are_separate_runs(tmp_path: Path) -> None:
    run_job("tune", tmp_path, **SLURM_STEP)
    for number in range(2):
        assert json.loads((tmp_path / f"trial{number}.json").read_text()) == ["rank 0/1 (single)", False, True]
    values = []
    for run in runs_of(tmp_path):
        records = captured(run)
        (attempt,) = [record for record in records if isinstance(record, Attempt)]
        assert (attempt.place.rank, attempt.place.world_size, attempt.place.job_id) == (0, 1, "4711")
        values.append(series(records, "loss"))
    assert sorted(values, key=str) == [dict.fromkeys(range(5), float(number)) for number in range(2)]


def test_a_process_without_ray_is_no_worker_and_has_no_place() -> None:
    assert not ray.in_ray_worker()
    assert ray.initialised_place() is None
    assert not ray.RayStrategy().ready()


def test_ranks_meet_when_they_wait_at_the_same_time() -> None:
    async def scenario() -> None:
        meeting = Rendezvous(2)
        for _ in range(2):
            assert await meeting.join("a", 0, "first", 0.01) == "1 of 2 ranks did not join: rank 1"
        assert await meeting.join("a", 1, "second", 0.01) == "1 of 2 ranks did not join: rank 0"
        joined = await asyncio.gather(meeting.join("a", 0, "first", 20), meeting.join("a", 1, "second", 20))
        assert joined == ["", ""]
        assert await meeting.join("a", 0, "first", 20) == "", "an answer that was lost may be asked for again"

    asyncio.run(scenario())


async def two_that_met() -> Rendezvous:
    meeting = Rendezvous(2)
    await asyncio.gather(meeting.join("a", 0, "first", 20), meeting.join("a", 1, "second", 20))
    return meeting


def test_a_restarted_rank_ends_the_channel_for_all() -> None:
    async def scenario() -> None:
        meeting = await two_that_met()
        waiting = asyncio.create_task(meeting.exchange("a", 0, GATHER, b"", 20))
        await asyncio.sleep(0)
        assert await meeting.join("a", 1, "third", 20) == "rank 1 was restarted"
        assert await waiting == "rank 1 was restarted"

    asyncio.run(scenario())


def test_a_rank_that_leaves_ends_the_others_wait_at_once() -> None:
    async def scenario() -> None:
        meeting = await two_that_met()
        waiting = asyncio.create_task(meeting.exchange("a", 0, GATHER, b"", 20))
        await asyncio.sleep(0)
        await meeting.leave("a", 1)
        assert await waiting == "rank 1 has left"

    asyncio.run(scenario())


def test_a_rank_that_does_not_come_is_named_and_what_it_brings_later_is_refused() -> None:
    async def scenario() -> None:
        meeting = await two_that_met()
        missing = "1 of 2 ranks did not join: rank 1"
        assert await meeting.exchange("a", 0, GATHER, b"", 0.01) == missing
        assert await meeting.exchange("a", 1, GATHER, b"", 20) == missing

    asyncio.run(scenario())


@pytest.mark.parametrize(("call", "data"), [("sum", bytes(16)), ("min", bytes(8)), (GATHER, bytes(8))])
def test_different_calls_are_an_error_not_a_wrong_sum(call: str, data: bytes) -> None:
    async def scenario() -> None:
        meeting = await two_that_met()
        calls = [meeting.exchange("a", 0, "sum", bytes(8), 20), meeting.exchange("a", 1, call, data, 20)]
        assert await asyncio.gather(*calls) == ["the ranks made different calls"] * 2

    asyncio.run(scenario())
