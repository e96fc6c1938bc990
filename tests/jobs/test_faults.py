"""One rank does something wrong: nothing hangs, no sum is wrong, coverage and warnings say what is missing."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fault_job import MIDDLE, STEPS
from launch import Finished, Ranks
from runtimes import start

from ranklog.model.record import Coverage, Event, Metrics, Record
from ranklog.testing import captured, series

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("fault_job.py")
FULL = bool(os.environ.get("RANKLOG_TEST_FULL"))
"""Whether every number of ranks is tried, and a rank is late by 20 s; set by `benchmarks.soak.full_size`."""
ALL = range(2, 9)
LATE_S = "20" if FULL else "5"


def run(
    case: str, size: int, tmp_path: Path, *, leave: tuple[int, ...] = (), timeout_s: str = "4"
) -> tuple[Ranks, dict[int, Finished]]:
    job = Ranks(size, JOB, "torch", case, str(tmp_path), cwd=tmp_path, RANKLOG_REDUCE_TIMEOUT=timeout_s, LATE_S=LATE_S)
    done = job.finish([rank for rank in range(size) if rank not in leave])
    return job, done


def records(tmp_path: Path) -> list[Record]:
    return captured(tmp_path / "runs" / "faulty")


def coverage(found: list[Record], name: str) -> dict[int, Coverage | None]:
    return {r.step: r.coverage for r in found if isinstance(r, Metrics) and name in r.values}


def warnings(found: list[Record]) -> str:
    return "\n".join(r.text for r in found if isinstance(r, Event) and r.level == "warning")


def sync(tmp_path: Path) -> str:
    """Merge what was kept; what there was to be told of it."""
    command = [sys.executable, "-m", "ranklog.cli", "sync", str(tmp_path / "runs" / "faulty")]
    done = subprocess.run(command, check=False, timeout=60, env=os.environ, capture_output=True, text=True)
    kept = [f"{path.name}: {path.stat().st_size}" for path in (tmp_path / "runs" / "faulty" / "spill").rglob("*")]
    events = [f"{record.code}: {record.text}" for record in records(tmp_path) if isinstance(record, Event)]
    return "\n".join([done.stdout, done.stderr, *kept, *events])


def mean_of(ranks: range) -> float:
    return sum(ranks) / len(ranks)


@pytest.mark.parametrize("size", ALL if FULL else [2, 3, 4, 8])
def test_a_killed_rank_costs_only_its_own_values_and_is_named(size: int, tmp_path: Path) -> None:
    _, done = run("killed", size, tmp_path)
    assert done[size - 1].code == -9
    for rank in range(size - 1):
        assert done[rank].code == 0, done[rank].output
    found = records(tmp_path)
    everyone, others = mean_of(range(size)), mean_of(range(size - 1))
    expected = {step: step + (everyone if step < MIDDLE else others) for step in range(STEPS)}
    assert series(found, "loss") == pytest.approx(expected)
    full, partly = Coverage(size, size, size), Coverage(size - 1, size, size - 1)
    assert coverage(found, "loss") == {step: full if step < MIDDLE else partly for step in range(STEPS)}
    for rank in range(size - 1):
        assert series(found, f"own/rank_{rank:03d}") == {step: step for step in range(STEPS)}
    assert f"no sign of rank {size - 1} ({socket.gethostname()}, " in warnings(found), "by host and device"


@pytest.mark.parametrize("size", ALL if FULL else [2, 4])
def test_what_a_stopped_rank_logs_later_is_merged_by_sync(size: int, tmp_path: Path) -> None:
    last = size - 1
    job, done = run("stopped", size, tmp_path, leave=(last,))
    for rank in range(last):
        assert done[rank].code == 0, done[rank].output
    found = records(tmp_path)
    others = mean_of(range(last))
    assert {s: v for s, v in series(found, "loss").items() if s >= MIDDLE} == pytest.approx(
        {step: step + others for step in range(MIDDLE, STEPS)}
    )
    assert f"no sign of rank {last}" in warnings(found)

    job.go_on(last)
    assert job.finish([last])[last].code == 0
    for _ in range(2):
        sync(tmp_path)
        found = records(tmp_path)
        assert series(found, "loss") == pytest.approx({step: step + mean_of(range(size)) for step in range(STEPS)})
        assert set(coverage(found, "loss").values()) == {Coverage(size, size, size)}
        assert series(found, f"own/rank_{last:03d}") == {step: step for step in range(STEPS)}
        assert len([r for r in found if isinstance(r, Event) and r.code == "spill_merged"]) == 1, "merged once"


@pytest.mark.parametrize("size", ALL if FULL else [3])
def test_a_rank_that_is_late_by_less_than_the_time_limit_is_waited_for(size: int, tmp_path: Path) -> None:
    _, done = run("late", size, tmp_path, timeout_s="30")
    assert [done[rank].code for rank in range(size)] == [0] * size, done
    found = records(tmp_path)
    assert series(found, "loss") == pytest.approx({step: step + mean_of(range(size)) for step in range(STEPS)})
    assert set(coverage(found, "loss").values()) == {Coverage(size, size, size)}
    assert not warnings(found)


@pytest.mark.parametrize("size", ALL if FULL else [3])
@pytest.mark.parametrize("case", ["early", "raises"])
def test_a_rank_that_leaves_in_the_middle_holds_nobody_up(case: str, size: int, tmp_path: Path) -> None:
    _, done = run(case, size, tmp_path)
    assert [done[rank].code for rank in range(size - 1)] == [0] * (size - 1), done
    found = records(tmp_path)
    everyone, others = mean_of(range(size)), mean_of(range(size - 1))
    expected = {step: step + (everyone if step < MIDDLE else others) for step in range(STEPS)}
    assert series(found, "loss") == pytest.approx(expected)
    later = [c for s, c in coverage(found, "loss").items() if s >= MIDDLE]
    assert {c.contributed for c in later if c} == {size - 1}
    if case == "raises":
        assert f"rank {size - 1}/{size} (torchrun) ended with RuntimeError: out of luck" in warnings(found)


OTHERS = ("deepspeed", "horovod", "mpi", "ray")


@pytest.mark.parametrize("runtime", OTHERS)
def test_what_was_flushed_before_a_rank_was_killed_is_there_whatever_the_launcher_ends(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKLOG_REDUCE_TIMEOUT", "4")
    launcher = "torch" if runtime == "deepspeed" else runtime
    done = start(launcher, 2, JOB, runtime, "killed", str(tmp_path), cwd=tmp_path)
    assert done.code != 0, "the launcher tells that a rank was killed"
    found = records(tmp_path)
    before = {s: v for s, v in series(found, "loss").items() if s < MIDDLE}
    assert before == {step: step + 0.5 for step in range(MIDDLE)}
    assert {c for s, c in coverage(found, "loss").items() if s < MIDDLE} == {Coverage(2, 2, 2)}


@pytest.mark.parametrize("runtime", OTHERS)
def test_a_rank_that_was_stopped_for_a_while_is_made_up_for(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKLOG_REDUCE_TIMEOUT", "4")
    launcher = "torch" if runtime == "deepspeed" else runtime
    done = start(launcher, 2, JOB, runtime, "stopped-for-a-while", str(tmp_path), cwd=tmp_path)
    assert done.code == 0, done.output
    told = sync(tmp_path)
    found = records(tmp_path)
    assert series(found, "loss") == pytest.approx({step: step + 0.5 for step in range(STEPS)}), told + done.output
    assert set(coverage(found, "loss").values()) == {Coverage(2, 2, 2)}
    for rank in range(2):
        assert series(found, f"own/rank_{rank:03d}") == {step: step for step in range(STEPS)}
