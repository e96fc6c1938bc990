"""Loggers whose ranks can regroup: values go on without a rank that hangs, and with it when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ranklog import JournalLogger
from ranklog.abc import Floats, ReduceOp
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


def test_values_go_on_without_a_rank_that_hangs_and_with_it_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKLOG_REDUCE_TIMEOUT", "3")
    size = 3
    job = RegroupingFakeWorld(size)
    strategies = [PausableStrategy(job, rank) for rank in range(size)]
    loggers = [
        JournalLogger(tmp_path, strategy=strategies[rank], run_id="run", log_on_workers=-1, log_freq="batch")
        for rank in range(size)
    ]
    step = 0

    def log_once() -> None:
        nonlocal step
        for rank, logger in enumerate(loggers):
            logger.log(float(10**rank), "who", step=step, batch_idx=step, reduce="sum")
        step += 1

    def shown() -> dict[int, tuple[float, Coverage | None]]:
        found = (r for r in captured(tmp_path / "runs" / "run") if isinstance(r, Metrics) and "who" in r.values)
        return {r.step: (r.values["who"], r.coverage) for r in found}

    def log_until(value: float, coverage: Coverage) -> None:
        def seen() -> bool:
            log_once()
            return (value, coverage) in list(shown().values())[-3:]

        wait_for(seen)

    for logger in loggers:
        logger.create_logger_context(rank=None)
    log_until(111.0, Coverage(3, 3, 3))
    strategies[2].running.clear()
    log_until(11.0, Coverage(2, 3, 2))
    strategies[2].running.set()
    log_until(111.0, Coverage(3, 3, 3))
    threads = [threading.Thread(target=logger.destroy_logger_context) for logger in loggers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert set(shown().values()) == {(111.0, Coverage(3, 3, 3))}, "late values are in"
    assert sorted(shown()) == list(range(step))
    events = [r.text for r in captured(tmp_path / "runs" / "run") if isinstance(r, Event) and r.code == "generation"]
    assert any("2 of 3 ranks continue, without rank 2" in text for text in events)
    assert "all 3 ranks take part" in events[-1]
