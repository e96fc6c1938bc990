"""A rank that stops for longer than the time limit: values go on without it, and with it when it is back."""

from pathlib import Path

import pytest
from launch import Ranks

from ranklog.model.record import Event, Metrics
from ranklog.testing import captured, series

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("healing_job.py")


@pytest.mark.parametrize("size", [2, 3, 4])
def test_values_go_on_without_a_stopped_rank_and_no_value_is_lost_or_counted_twice(size: int, tmp_path: Path) -> None:
    job = Ranks(size, JOB, str(tmp_path), cwd=tmp_path, RANKLOG_REDUCE_TIMEOUT="3")
    done = job.finish(list(range(size)))
    assert [done[rank].code for rank in range(size)] == [0] * size, done
    steps = [int((tmp_path / f"steps-{rank}").read_text()) for rank in range(size)]
    found = captured(tmp_path / "runs" / "healing")
    expected = {step: float(sum(10**rank for rank in range(size) if step < steps[rank])) for step in range(max(steps))}
    assert series(found, "who") == expected
    behind = {
        r.step: r.coverage.contributed for r in found if isinstance(r, Metrics) and "who" in r.values and r.coverage
    }
    assert behind == {step: sum(step < steps[rank] for rank in range(size)) for step in range(max(steps))}
    for rank in range(size):
        assert series(found, f"own/rank_{rank:03d}") == {step: step for step in range(steps[rank])}
    generations = [r.text for r in found if isinstance(r, Event) and r.code == "generation"]
    assert any("continue" in text for text in generations), generations
    assert f"all {size} ranks take part" in generations[-1], generations
