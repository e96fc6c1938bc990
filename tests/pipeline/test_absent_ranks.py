"""Rank 0 names ranks that leave no sign, each time, and withdraws that when they come back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ranklog.model.place import Place
from ranklog.model.record import Event
from ranklog.pipeline.reduction.absent import NOTICE_S, AbsentRanks
from ranklog.process.warnings import Health
from ranklog.view.summary import losses_of

LONG_AGO_S = NOTICE_S + 60
pytestmark = pytest.mark.filterwarnings("ignore::ranklog.model.errors.RanklogWarning")


class Job:
    """What rank 0 of 4 ranks reports."""

    def __init__(self, run_dir: Path) -> None:
        self._health = Health()
        self._events: list[Event] = []
        place = Place(rank=0, world_size=4)
        self._absent = AbsentRanks(place, self._health, lambda: run_dir, timeout_s=1.0)

    def lose(self, *missing: int) -> tuple[str, ...]:
        """Report these ranks as missing; returns the losses that a reader of the run sees so far."""
        self._absent.update(missing, time.monotonic() - LONG_AGO_S)
        self._absent.report("rendezvous")
        self._events += self._health.news()
        return losses_of(self._events)


def test_a_rank_that_is_lost_later_is_named_too(tmp_path: Path) -> None:
    job = Job(tmp_path)
    assert ["rank 2" in loss for loss in job.lose(2)] == [True]
    assert ["rank 2, rank 3" in loss for loss in job.lose(2, 3)] == [True]


def test_a_rank_that_comes_back_is_no_loss(tmp_path: Path) -> None:
    job = Job(tmp_path)
    assert job.lose(1, 2)
    (loss,) = job.lose(1)
    assert "rank 1" in loss
    assert "rank 2" not in loss
    assert job.lose() == ()


def test_a_rank_that_is_lost_again_is_named_again(tmp_path: Path) -> None:
    job = Job(tmp_path)
    assert job.lose(1)
    assert job.lose() == ()
    assert ["rank 1" in loss for loss in job.lose(1)] == [True]
