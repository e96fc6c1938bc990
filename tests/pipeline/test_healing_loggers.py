"""Loggers whose ranks can regroup: values go on without a rank that hangs, and with it when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ranklog import JournalLogger
from ranklog.abc import Floats, ReduceOp
from ranklog.journal.spill_file import spill_files
from ranklog.model.record import Coverage, Event, Metrics
from ranklog.testing import captured
from ranklog.world.fake_regrouping import RegroupingFakeRank, RegroupingFakeWorld

PATIENCE_S = 30.0


class Pausable(RegroupingFakeRank):
    """A rank whose calls hang while it is held."""

    running: threading.Event

    def all_reduce(self, values: Floats, *, op: ReduceOp, timeout_s: float) -> Floats:
        self.running.wait()
        return super().all_reduce(values, op=op, timeout_s=timeout_s)


class PausableStrategy:
    """Strategy of one rank that can be held, as by SIGSTOP."""

    name = "pausable"

    def __init__(self, job: RegroupingFakeWorld, rank: int) -> None:
        self._job = job
        self._own = job.strategy(rank)
        self.running = threading.Event()
        self.running.set()
        self.place = self._own.place
        self.ready = self._own.ready

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> RegroupingFakeRank:
        world = self._own.connect(channel="all", timeout_s=timeout_s, stop=stop)
        assert isinstance(world, RegroupingFakeRank)
        world.__class__ = type("Held", (Pausable,), {"running": self.running})
        return world


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)


class Job:
    """Loggers of all ranks in this process."""

    def __init__(self, size: int, savedir: Path) -> None:
        world = RegroupingFakeWorld(size)
        self.run_dir = savedir / "runs" / "run"
        self.strategies = [PausableStrategy(world, rank) for rank in range(size)]
        self.loggers = [
            JournalLogger(savedir, strategy=strategy, run_id="run", log_on_workers=-1, log_freq="batch")
            for strategy in self.strategies
        ]
        self.steps = 0
        for logger in self.loggers:
            logger.create_logger_context(rank=None)

    def log_once(self) -> None:
        for rank, logger in enumerate(self.loggers):
            logger.log(float(10**rank), "who", step=self.steps, batch_idx=self.steps, reduce="sum")
        self.steps += 1

    def shown(self) -> dict[int, tuple[float, Coverage | None]]:
        found = (r for r in captured(self.run_dir) if isinstance(r, Metrics) and "who" in r.values)
        return {r.step: (r.values["who"], r.coverage) for r in found}

    def log_until(self, value: float, coverage: Coverage) -> None:
        def seen() -> bool:
            self.log_once()
            return (value, coverage) in list(self.shown().values())[-3:]

        wait_for(seen)

    def close(self) -> None:
        threads = [threading.Thread(target=logger.destroy_logger_context) for logger in self.loggers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)

    def events(self, code: str) -> list[str]:
        return [r.text for r in captured(self.run_dir) if isinstance(r, Event) and r.code == code]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("RANKLOG_REDUCE_TIMEOUT", "3")
    return Job(3, tmp_path)


ALL = Coverage(3, 3, 3)


def test_values_go_on_without_a_rank_that_hangs_and_with_it_when_it_is_back(job: Job) -> None:
    job.log_until(111.0, ALL)
    job.strategies[2].running.clear()
    job.log_until(11.0, Coverage(2, 3, 2))
    job.strategies[2].running.set()
    job.log_until(111.0, ALL)
    job.close()
    assert set(job.shown().values()) == {(111.0, ALL)}, "late values are in"
    assert sorted(job.shown()) == list(range(job.steps))
    events = job.events("generation")
    assert any("2 of 3 ranks continue, without rank 2" in text for text in events)
    assert "all 3 ranks take part" in events[-1]


def test_what_ranks_kept_while_rank_0_hung_is_in_the_journal_before_the_run_closes(job: Job) -> None:
    def kept() -> bool:
        job.log_once()
        return [file.rank for file in spill_files(job.run_dir) if file.rank] == [1, 2]

    job.log_until(111.0, ALL)
    job.strategies[0].running.clear()
    wait_for(kept)
    for _ in range(5):
        job.log_once()
    job.strategies[0].running.set()
    job.log_until(111.0, ALL)

    def complete() -> bool:
        return len(job.shown()) >= job.steps - 1 and set(job.shown().values()) == {(111.0, ALL)}

    wait_for(complete)
    job.close()
    assert complete()
    assert sorted(job.shown()) == list(range(job.steps))
    assert len(job.events("spill_merged")) == 1
