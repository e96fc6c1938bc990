"""Cost of a very long run at its beginning and at its end.

python -m benchmarks.soak.growth [--steps 2000000]

One process logs to the journal as fast as possible. The trial measures the seconds until everything is on the disk, and
the bytes and files of the run. For each tenth of the run, it measures the resident memory of the training process, its
open descriptors, and the processor time per step.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

from ranklog import JournalLogger
from ranklog.journal.layout import segments

PARTS = 10
RESULTS = Path(__file__).with_name("results")


class Part(msgspec.Struct, frozen=True):
    """One tenth of the run."""

    resident_mib: float
    descriptors: int
    cpu_us_a_step: float


class Growth(msgspec.Struct, frozen=True):
    """Measurements of a run."""

    steps: int
    wall_s: float
    journal_mib: float
    other_files: int
    records: int
    parts: list[Part]


def grow(steps: int, savedir: Path) -> Growth:
    """Log ``steps`` scalars, one per step."""
    process = psutil.Process()
    logger = JournalLogger(savedir)
    parts: list[Part] = []
    started = time.perf_counter()
    with logger.start_logging():
        run_dir = logger.run_dir
        step = 0
        for part in range(PARTS):
            cpu_s = time.process_time()
            end = steps * (part + 1) // PARTS
            while step < end:
                logger.log(step * 0.5, "loss", step=step)
                step += 1
            logger.flush()
            cost_us = (time.process_time() - cpu_s) / (steps / PARTS) * 1e6
            parts.append(Part(process.memory_info().rss / 2**20, process.num_fds(), cost_us))
    wall_s = time.perf_counter() - started
    journal = [path for _, path in segments(run_dir)]
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in journal)
    return Growth(steps, wall_s, size / 2**20, len(files) - len(journal), _count(run_dir), parts)


def _count(run_dir: Path) -> int:
    from ranklog.journal.reader import JournalReader

    return sum(1 for _ in JournalReader(run_dir).poll())


def main() -> None:
    """Run the trial and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2_000_000)
    steps: int = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        growth = grow(steps, Path(folder))
    result = {"cpus": os.cpu_count(), **msgspec.to_builtins(growth)}
    text = json.dumps(result, indent=1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"growth-{steps}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
