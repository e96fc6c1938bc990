"""Reduction over real processes with torch.distributed, next to the user's all_reduces."""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from launch import Ranks

from ranklog.model.record import Coverage, Metrics, Record

JOB = Path(__file__).parent / "processes" / "rounds_job.py"


class Result(msgspec.Struct):
    cases: dict[str, tuple[list[Record], str | None]]
    now: dict[str, float]
    alone: tuple[list[Record], str | None, float]

    def metrics(self, case: str, name: str) -> list[Metrics]:
        records, failed = self.cases[case]
        assert failed is None
        return [r for r in records if isinstance(r, Metrics) and name in r.values]

    def series(self, case: str, name: str) -> dict[int, float]:
        return {m.step: m.values[name] for m in self.metrics(case, name)}

    def coverage(self, case: str, name: str) -> dict[int, tuple[int, int]]:
        return {m.step: (m.coverage.answered, m.coverage.contributed) for m in self.metrics(case, name) if m.coverage}


def run(size: int, out: Path) -> Result:
    for done in Ranks(size, JOB, str(out), cwd=out.parent).finish(range(size), timeout_s=200).values():
        assert done.code == 0, done.output
    return msgspec.json.decode(out.read_bytes(), type=Result)


@pytest.mark.slow
@pytest.mark.parametrize("size", range(2, 9) if os.environ.get("RANKLOG_TEST_FULL") else [2, 3, 4])
def test_real_processes_reduce_every_case_exactly(size: int, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    got = run(size, tmp_path / "out.json")
    ranks = np.arange(size, dtype=float)
    middle = float(ranks.mean())

    assert got.series("equal", "loss") == pytest.approx({s: middle + s for s in range(200)})
    assert set(got.series("equal", "seen").values()) == {2.0**53 - 1}
    weighted = np.sqrt(np.cov(ranks, aweights=ranks + 1, bias=True))
    assert got.series("equal", "spread") == pytest.approx(dict.fromkeys(range(200), float(weighted)))
    assert {m.values["time/max_rank"] for m in got.metrics("equal", "time/mean")} == {size - 1.0}
    assert set(got.coverage("equal", "loss").values()) == {(size, size)}

    assert got.series("different_keys", "loss") == dict.fromkeys(range(50), middle)
    for rank in range(size):
        assert got.series("different_keys", f"only_{rank}") == {s: float(s) for s in range(50)}
        assert set(got.coverage("different_keys", f"only_{rank}").values()) == {(size, 1)}

    for name in "abc":
        assert got.series("different_order", name) == dict.fromkeys(range(50), ord(name) + middle)

    samples = [10.0 * rank + sample for rank in range(size) for sample in range(rank + 1)]
    half, most = np.quantile(samples, 0.5), np.quantile(samples, 0.99)
    assert got.series("quantiles", "half") == pytest.approx(dict.fromkeys(range(50), half), rel=0.0101)
    assert got.series("quantiles", "most") == pytest.approx(dict.fromkeys(range(50), most), rel=0.0101)
    for step, value in got.series("quantiles", "signed").items():
        signed = [(-1) ** sample * (step + rank) for rank in range(size) for sample in range(rank + 1)]
        assert value == pytest.approx(np.median(signed), abs=0.0101 * (step + size))
    assert set(got.coverage("quantiles", "most").values()) == {(size, size)}

    assert set(got.coverage("silent_rank", "loss").values()) == {(size, size - 1)}
    assert got.series("last_rank_only", "loss") == {s: float(s) for s in range(20)}
    assert set(got.coverage("last_rank_only", "loss").values()) == {(size, 1)}
    longest = 20 + 10 * (size - 1)
    expected = {s: (size, size - max(0, s // 10 - 1)) for s in range(longest)}
    assert got.coverage("uneven", "loss") == expected

    std = float(ranks.std())
    expected_now = {"mean": middle, "sum": size * middle, "min": 0.0, "max": size - 1.0, "std": std}
    assert got.now == pytest.approx({**expected_now, "a": size * middle, "b": float(size)})

    records, failed, took_s = got.alone
    (alone,) = [r for r in records if isinstance(r, Metrics)]
    assert alone.coverage is not None
    assert (alone.coverage, alone.values) == (Coverage(1, size, 1), {"loss": 1.0})
    assert failed is not None
    assert f"{size - 1} of {size} ranks did not join: rank 1" in failed
    assert took_s < 20
