"""Measure how long live values stay away after one of several ranks was stopped for longer than the time limit.

``python -m benchmarks.soak.stopped_rank [RANKS] [STOPPED_S] [RUNS]`` starts the ranks with torch.distributed on this
machine. Training is synchronised by a barrier per step. The last rank is stopped, by default for 40 s, and continued.
Prints seconds and rounds of rank 0 per run as JSON, counted from the moment when the rank is continued.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ranklog.journal.reader import JournalReader
from ranklog.model.record import Event, Metrics, Record
from ranklog.reduce.round import Rounds

STEP_S = 0.05
WARM_UP_S = 5.0
PATIENCE_S = 60.0
ROUNDS = "rounds"


def train(savedir: str) -> None:
    """Be one rank."""
    import torch.distributed as dist

    from ranklog.loggers import JournalLogger

    dist.init_process_group("gloo")
    if dist.get_rank() == 0:
        note_rounds(Path(savedir) / ROUNDS)
    logger = JournalLogger(savedir=savedir, log_freq="batch", run_id="stopped")
    over = Path(savedir) / "over"
    with logger.start_logging(exit_timeout=30.0):
        step = 0
        while not over.exists():
            dist.barrier()
            logger.log(float(10 ** dist.get_rank()), "who", step=step, batch_idx=step, reduce="sum")
            step += 1
            time.sleep(STEP_S)
    os._exit(0)  # ranks leave at different steps


def note_rounds(path: Path) -> None:
    """Write a line per round of this process: when it ended, and how many ranks contributed to its values at most."""
    step = Rounds.step

    def noted(self: Rounds, timeout_s: float) -> list[Record]:
        number = self.number
        records = step(self, timeout_s)
        if self.number > number:
            found = [r.coverage.contributed for r in records if isinstance(r, Metrics) and r.coverage is not None]
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{time.monotonic()} {max(found, default=0)}\n")
        return records

    Rounds.step = noted  # type: ignore[method-assign]


def rounds_until_full(path: Path, ranks: int, since_s: float) -> int:
    """Return the number of the first round with a value of all ranks, of those that ended after a moment."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    later = [int(contributed) for ended_s, contributed in lines if float(ended_s) > since_s]
    return later.index(ranks) + 1


class Watch:
    """Reads the journal while it grows, and notes when each record is seen."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._reader: JournalReader | None = None
        self.seen: list[tuple[float, Record]] = []

    def poll(self) -> None:
        """Read what is new."""
        if self._reader is None:
            if not self._run_dir.exists():
                return
            self._reader = JournalReader(self._run_dir)
        now_s = time.monotonic()
        self.seen += [(now_s, entry.record) for entry in self._reader.poll()]

    def wait(self, seconds: float) -> None:
        """Read for some time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.poll()
            time.sleep(0.02)


def full(record: Record, ranks: int, after_step: int) -> bool:
    """Whether a record is a new value of all ranks."""
    return (
        isinstance(record, Metrics)
        and record.coverage is not None
        and record.coverage.contributed == ranks
        and record.step > after_step
    )


def measure(ranks: int, stopped_s: float, savedir: Path) -> dict[str, object]:
    """Run the job once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "LOCAL_WORLD_SIZE": str(ranks)}
    command = [sys.executable, "-m", "benchmarks.soak.stopped_rank", "train", str(savedir)]
    processes = [
        subprocess.Popen(command, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(ranks)
    ]
    watch = Watch(savedir / "runs" / "stopped")
    try:
        while not any(full(record, ranks, -1) for _, record in watch.seen):
            watch.wait(0.2)
        watch.wait(WARM_UP_S)
        processes[-1].send_signal(signal.SIGSTOP)
        watch.wait(stopped_s)
        last = max(record.step for _, record in watch.seen if isinstance(record, Metrics))
        processes[-1].send_signal(signal.SIGCONT)
        continued_s = time.monotonic()
        while not (back := [at_s for at_s, record in watch.seen if full(record, ranks, last + 1)]):
            watch.wait(0.05)
            assert time.monotonic() < continued_s + PATIENCE_S, "values of all ranks are not back"
        generations = [
            {"after_s": round(at_s - continued_s, 2), "text": record.text}
            for at_s, record in watch.seen
            if isinstance(record, Event) and record.code == "generation"
        ]
        watch.wait(WARM_UP_S)
    finally:
        (savedir / "over").touch()
        processes[-1].send_signal(signal.SIGCONT)
        for process in processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
    return {
        "ranks": ranks,
        "stopped_s": stopped_s,
        "full_values_after_s": round(back[0] - continued_s, 2),
        "full_values_in_round": rounds_until_full(savedir / ROUNDS, ranks, continued_s),
        "generations": generations,
        "load": [round(each, 1) for each in os.getloadavg()],
    }


def main() -> None:
    """Measure, or be one rank of the job."""
    if sys.argv[1:2] == ["train"]:
        train(sys.argv[2])
        return
    ranks = int(sys.argv[1]) if sys.argv[1:] else 8
    stopped_s = float(sys.argv[2]) if sys.argv[2:] else 40.0
    runs = []
    for _ in range(int(sys.argv[3]) if sys.argv[3:] else 3):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(ranks, stopped_s, Path(folder)))
    print(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
