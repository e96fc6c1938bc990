"""Awkward values, orders, weights and loggers: the documented result on every runtime, to 1e-12 of exact fractions."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from runtimes import start

from ranklog.model.record import Event, Metrics
from ranklog.testing import captured, series

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("values_job.py")
CASES = [
    ("torch", 2),
    ("torch", 3),
    ("torch", 4),
    ("torch", 8),
    ("deepspeed", 2),
    ("horovod", 2),
    ("mpi", 2),
    ("ray", 2),
]


def mean(values: Iterator[float]) -> float:
    numbers = [Fraction(value) for value in values]
    return float(sum(numbers, Fraction(0)) / len(numbers))


@pytest.mark.parametrize(("runtime", "size"), CASES)
def test_awkward_values_come_out_exact(
    runtime: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKLOG_REDUCE_TIMEOUT", "30")
    launcher = "torch" if runtime == "deepspeed" else runtime
    done = start(launcher, size, JOB, runtime, str(tmp_path / "logs"), cwd=tmp_path)
    assert done.code == 0, done.output
    for rank in range(size):
        assert f"rank {rank} has closed" in done.output or runtime == "ray"
    found = captured(tmp_path / "logs" / "runs" / "values")
    ranks = range(size)

    def value(name: str, step: int) -> float:
        return series(found, name)[step]

    def exactly(expected: float) -> object:
        return pytest.approx(expected, rel=1e-12, abs=0.0)

    assert value("nan", 0) == exactly(mean(float(r) for r in ranks if r != 1))
    assert value("inf", 0) == exactly(mean(float(r) for r in ranks if r != 0))
    assert value("big", 0) == exactly(mean(2.0**53 + 2 * r for r in ranks))
    assert value("flag", 0) == exactly(1 / size)
    assert value("half", 0) == exactly(float(np.float16(0.1)))
    assert value("brain", 0) == exactly(0.30078125)
    assert value("tiny", 0) == exactly(mean(1e-300 * (r + 1) for r in ranks))
    weights = sum(r + 1 for r in ranks)
    assert value("weighted", 1) == exactly(float(Fraction(sum(r * (r + 1) for r in ranks), weights)))
    assert value("zero", 1) == exactly(mean(float(r) for r in ranks if r))
    assert math.isnan(value("nothing", 1))
    assert value("lonely", 2) == 7.0
    for name in "abc":
        assert value(name, 3) == sum(ord(name) + r for r in ranks)
    cubes = np.array([(r - 1.0) ** 3 for r in ranks])
    assert value("op_std", 4) == exactly(float(cubes.std()))
    assert (value("op_min", 4), value("op_max", 4)) == (cubes.min(), cubes.max())
    assert value("op_median", 4) == pytest.approx(float(np.median(cubes)), rel=0.01, abs=0.02)
    assert (value("op_stats/min_rank", 4), value("op_stats/max_rank", 4)) == (0.0, size - 1.0)
    for step in range(10 * (size - 1) + 20):
        assert value("shifted", step) == exactly(mean(float(r) for r in ranks if 10 * r <= step < 10 * r + 20))
    for rank in ranks:
        assert series(found, f"each/rank_{rank:03d}") == {5: float(rank)}

    coverage = {r.coverage.answered for r in found if isinstance(r, Metrics) and r.coverage}
    assert coverage == {size}, "every rank answered for every value"
    names = {r.rank: r.text for r in found if isinstance(r, Event) and r.code == "nonfinite"}
    assert "nan: first NaN" in names[1]
    assert "inf: first NaN or infinite value at step 0, on rank 0" in names[0]
    alone = captured(tmp_path / "logs" / "alone" / "runs" / "alone")
    (loss,) = [r for r in alone if isinstance(r, Metrics)]
    assert (loss.values, str(loss.coverage)) == ({"loss": 1.0}, f"1 of {size} ranks had a value, 1 answered")
