"""Run every benchmark in separate processes, and print one table: `python -m benchmarks`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks.kinds import CASES as KINDS
from benchmarks.one_process import CASES
from benchmarks.timing import Timing

ROOT = Path(__file__).resolve().parent.parent


def run(arguments: list[str], out: Path) -> list[Timing]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WANDB_SILENT": "true"}
    command = [sys.executable, *arguments, str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        return []
    return msgspec.json.decode(out.read_bytes(), type=list[Timing])


def import_time_ms() -> float:
    code = "import time; t = time.perf_counter(); import ranklog; print((time.perf_counter() - t) * 1e3)"
    times = []
    for _ in range(9):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append(float(done.stdout))
    return sorted(times)[4]


def main() -> None:
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        for name in CASES:
            timings += run(["-m", "benchmarks.one_process", name], out)
        torchrun = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "benchmarks.two_ranks",
        ]
        timings += run(torchrun, out)
        kinds = [timing for name in KINDS for timing in run(["-m", "benchmarks.kinds", name], out)]
    base = next((t.median_us for t in timings if t.name == "ranklog log_metrics, 10 scalars"), None)
    title = "microseconds a step in the training thread"
    print(f"{title:<66}{'median':>10}{'p99':>12}{'mean':>11}{'ratio':>10}{'close s':>9}")
    for t in timings:
        ratio = f"{t.median_us / base:.1f}" if base else ""
        print(f"{t.name:<66}{t.median_us:>10.2f}{t.p99_us:>12.1f}{t.mean_us:>11.1f}{ratio:>10}{t.close_s:>9.2f}")
    print(f"\n{'microseconds of one log call in the training thread':<66}{'median':>10}{'p99':>12}{'mean':>11}")
    for t in kinds:
        print(f"{t.name:<66}{t.median_us:>10.1f}{t.p99_us:>12.1f}{t.mean_us:>11.1f}")
    print(f"\nimport ranklog: {import_time_ms():.0f} ms (median of 9)")


if __name__ == "__main__":
    main()
