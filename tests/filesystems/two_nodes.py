"""Two nodes with one shared file system and one run: trainings, syncs, and the content of the CSV backend."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from launch import job_environment
from shared_disk import SharedDisk, run
from shared_disks import wait_all

JOB = Path(__file__).with_name("shared_disk_job.py")
RUN = "shared"
CLI = (sys.executable, "-m", "ranklog.cli")
VERIFY = Path(__file__).with_name("verify_runs_job.py")


def assert_intact(disk: SharedDisk) -> None:
    """Check every run of a disk, on each node that has caches of its own."""
    runs = [disk.path / found.relative_to(disk.server) for found in disk.server.glob("*/runs/*/")]
    assert runs
    for node in disk.views:
        run(*disk.on(node, sys.executable, VERIFY, *runs))


class Cluster:
    """Two nodes that share a disk, with one run.

    Args:
        disk: The disk.
        name: Name of the run's savedir.
        local: A folder on a local disk.
    """

    def __init__(self, disk: SharedDisk, name: str, local: Path) -> None:
        self.local = local
        self.disk = disk
        self.savedir = disk.path / name
        self.content = disk.server / name
        self.run_dir = self.content / "runs" / RUN
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, node: str, *words: object, **environ: str) -> subprocess.Popen[str]:
        """Start a program on a node."""
        process = subprocess.Popen(
            self.disk.on(node, *map(str, words)),
            env=job_environment(COLUMNS="200", **environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def train(self, node: str, *, forward: str = "later", flush_s: float = 60) -> Training:
        """Start a training that continues the run."""
        return Training(self.start(node, *self.job(forward, flush_s)))

    def job(self, forward: str, flush_s: float = 60) -> tuple[object, ...]:
        """Return the command of a training."""
        return sys.executable, JOB, self.savedir, RUN, forward, flush_s, self.local

    def start_ranks(self) -> list[subprocess.Popen[str]]:
        """Start a training with one rank on each node. Each rank logs a file."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            group = {"MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2", **self.disk.ranks}
        return [
            self.start(
                node, *self.job("process"),
                RANK=str(rank), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", GROUP_RANK=str(rank), **group,
            )
            for rank, node in enumerate(("node-a", "node-b"))
        ]  # fmt: skip

    def files_of_ranks(self) -> set[bytes]:
        """Contents of the files that the ranks logged."""
        return {(self.local / f"rank-{rank}.bin").read_bytes() for rank in range(2)}

    def stored_files(self) -> set[bytes]:
        """Contents of the files that the CSV backend has."""
        folder = self.content / "csv" / RUN
        items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
        return {(folder / item["path"]).read_bytes() for item in items}

    def sync(self, node: str, *options: str) -> subprocess.Popen[str]:
        """Start `ranklog sync` on a node."""
        return self.start(node, *CLI, "sync", self.savedir / "runs" / RUN, *options)

    def delivered(self) -> list[int]:
        """Steps that the CSV backend has, by Python's reader."""
        path = self.content / "csv" / RUN / "metrics.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [int(row["step"]) for row in rows if row["name"] == "loss" and row["value"]]

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.kill()
            process.communicate()


class Training:
    """A `shared_disk_job` with one rank."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.logged = 0
        self.wait_for("started")

    def wait_for(self, *expected: str) -> str:
        """Wait for one of several lines in its output, and return it."""
        assert self.process.stdout is not None
        lines = []
        while (line := self.process.stdout.readline()) and line.strip() not in expected:
            lines.append(line)
        assert line, "".join(lines)
        return line.strip()

    def ask(self, *steps: int) -> None:
        """Have steps logged, without waiting."""
        assert self.process.stdin is not None
        self.logged += len(steps)
        self.process.stdin.writelines(f"{step}\n" for step in steps)
        self.process.stdin.flush()

    def log(self, *steps: int) -> None:
        """Have steps logged and acknowledged by `flush`."""
        self.ask(*steps)
        for step in steps:
            self.wait_for(f"stored {step}")

    def log_until_stored(self, step: int) -> None:
        """Have a step logged again until it is acknowledged: a disk that is back may need longer than one `flush`."""
        self.ask(step)
        while self.wait_for(f"stored {step}", f"not stored {step}") != f"stored {step}":
            self.ask(step)

    def log_until_refused(self, step: int) -> None:
        """Have a step logged again until it is not acknowledged: a full disk may have room in the last block."""
        self.ask(step)
        while self.wait_for(f"stored {step}", f"not stored {step}") == f"stored {step}":
            self.ask(step)

    def end(self) -> None:
        """End it as a program ends."""
        wait_all([self.process])

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
