"""SIGTERM at a random moment while the main thread waits in a collective, many times, and signals from a real Slurm.

python -m benchmarks.soak.signals [--times 100] [--seed 1]

Counts what is missing in the journal, and measures the time until the process is gone. Then runs the tests of signals:
earlier handlers, callbacks, SIGUSR1 before a time limit, and signals to every process of a job.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.soak.full_size import Outcome, run_tests, write_result
from ranklog.testing import captured, series
from ranklog.view.query import RunView

JOBS = Path(__file__).parents[2] / "tests" / "jobs"
LOGGED = {step: float(step) for step in range(100)}
LATEST_S = 0.3
TESTS = ["tests/jobs/test_signals.py", "tests/cluster/test_slurm.py"]


class Signals(msgspec.Struct, frozen=True):
    """Results.

    Attributes:
        times: Processes that got SIGTERM inside a collective.
        lost: Values missing in their journals.
        wrong_ends: Processes that ended otherwise than by SIGTERM, or whose run has another status than KILLED.
        median_s: Median of the time from the signal to the end of the process.
        longest_s: Longest such time.
        tests: Outcome of the tests.
    """

    times: int
    lost: int
    wrong_ends: int
    median_s: float
    longest_s: float
    tests: Outcome


def end_once(savedir: Path, moment_s: float) -> tuple[float, int, bool]:
    """Send SIGTERM to one of two ranks; returns the seconds to its end, lost values, and whether all is right."""
    from launch import Ranks

    ranks = Ranks(2, JOBS / "signal_job.py", "collective", str(savedir), cwd=savedir)
    try:
        assert ranks.wait_for_line(0) == "ready\n"
        time.sleep(moment_s)
        sent_s = time.monotonic()
        ranks.send(0, signal.SIGTERM)
        code = ranks.finish([0])[0].code
        ended_s = time.monotonic() - sent_s
    finally:
        ranks.kill()
    run_dir = savedir / "runs" / "signalled"
    found = series(captured(run_dir), "loss")
    right = code == -signal.SIGTERM and RunView(run_dir).summary.status == "KILLED"
    return ended_s, len(LOGGED.items() - found.items()), right


def main() -> None:
    """Run the trial and the tests, and write their result."""
    sys.path[:0] = [str(JOBS), str(JOBS.parent / "cluster")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    ends = []
    for _ in range(given.times):
        with tempfile.TemporaryDirectory() as folder:
            ends.append(end_once(Path(folder), chance.uniform(0.0, LATEST_S)))
    times_s = [seconds for seconds, _, _ in ends]
    result = Signals(
        times=given.times,
        lost=sum(lost for _, lost, _ in ends),
        wrong_ends=sum(not right for _, _, right in ends),
        median_s=statistics.median(times_s),
        longest_s=max(times_s),
        tests=run_tests(TESTS),
    )
    write_result("signals", result)


if __name__ == "__main__":
    main()
