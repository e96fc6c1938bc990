"""A strategy that raises anything: rank 0 goes on alone, every rank trains on, and no flush claims too much."""

import asyncio
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from ranklog import JournalLogger
from ranklog.abc import World
from ranklog.model.errors import RanklogWarning
from ranklog.model.losses import UNSENT
from ranklog.model.place import Place
from ranklog.model.record import End, Event, Metrics
from ranklog.testing import captured
from ranklog.view.summary import summarise

ERRORS = [
    RuntimeError("no route"),
    OSError(113, "No route to host"),
    KeyError("MASTER_ADDR"),
    asyncio.CancelledError(),
    SystemExit(3),
]


class Broken:
    """Knows its place, and raises, or returns what is no world, when ranks are to be connected."""

    name = "broken"

    def __init__(self, rank: int, raised: BaseException | None, *, at: str = "connect") -> None:
        self._rank = rank
        self._raised = raised
        self._at = at

    def place(self) -> Place:
        return Place(rank=self._rank, world_size=2, local_rank=self._rank, local_world_size=2)

    def ready(self) -> bool:
        if self._at == "ready" and threading.current_thread().name == "ranklog-reducer" and self._raised is not None:
            raise self._raised
        return True

    def connect(self, *, channel: str, timeout_s: float, stop: threading.Event | None = None) -> World:
        if self._raised is not None:
            raise self._raised
        nothing: Any = None
        return nothing


def train(strategy: Broken, tmp_path: Path) -> tuple[JournalLogger, list[bool], list[str]]:
    """Three steps, each flushed; the logger, the answers of flush, and ranklog's warnings."""
    logger = JournalLogger(tmp_path, strategy=strategy, run_id="run", log_on_workers=-1)
    flushed = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with logger.start_logging(exit_timeout=5):
            for step in range(3):
                logger.log(float(step), "loss", step=step, reduce="mean")
                flushed.append(logger.flush(30))
    return logger, flushed, [str(each.message) for each in caught if issubclass(each.category, RanklogWarning)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at", ["connect", "ready"])
def test_rank_0_goes_on_alone_with_its_coverage_marked_and_one_warning(
    at: str, error: BaseException, tmp_path: Path
) -> None:
    logger, flushed, told = train(Broken(0, error, at=at), tmp_path)
    records = captured(logger)
    found = {r.step: (r.values["loss"], r.coverage) for r in records if isinstance(r, Metrics)}
    assert {step: value for step, (value, _) in found.items()} == {0: 0.0, 1: 1.0, 2: 2.0}
    assert all(each is not None and (each.answered, each.world_size) == (1, 2) for _, each in found.values())
    assert flushed == [True, True, True], "what rank 0 has is in the journal"
    (text,) = told
    assert type(error).__name__ in text and "Rank 0 continues alone" in text and "'broken'" in text
    assert [r.status for r in records if isinstance(r, End)] == ["FINISHED"]


def test_what_is_no_world_is_treated_as_one_that_raises(tmp_path: Path) -> None:
    logger, flushed, told = train(Broken(0, None), tmp_path)
    assert [r.step for r in captured(logger) if isinstance(r, Metrics)] == [0, 1, 2]
    assert (flushed, len(told)) == ([True, True, True], 1)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_another_rank_trains_on_and_its_flush_does_not_claim_what_rank_0_never_got(
    error: BaseException, tmp_path: Path
) -> None:
    _, flushed, told = train(Broken(1, error), tmp_path)
    assert flushed == [False, False, False]
    assert len([text for text in told if "ranks cannot be reached" in text]) == 1
    assert any("values did not reach rank 0" in text for text in told), told


def test_rank_0_says_in_the_run_that_what_others_had_is_lost(tmp_path: Path) -> None:
    logger, _, _ = train(Broken(0, RuntimeError("no route")), tmp_path)
    assert UNSENT in {r.code for r in captured(logger) if isinstance(r, Event)}
    assert any("had not sent are lost" in text for text in summarise(logger.run_dir).losses)
