"""A disk that does not answer holds up no other rank, and neither flush, close nor SIGTERM of a rank above 0.

The stall lasts until the tested process has ended, so a call that waited for the disk would hang.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from launch import job_environment

from ranklog.testing import captured, series

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the library that makes calls stall is C"),
]

JOB = Path(__file__).with_name("stalled_rank_job.py")
EVERY_CALL = "open,read,stat,write,fsync,rename"
ENDINGS = {"close": 0, "sigterm": -signal.SIGTERM}


class Job:
    """Two ranks without an agent, one of which has a disk that stalls.

    Args:
        case: What rank 1 does.
        ending: How it ends.
        stalled_rank: Rank whose disk stalls.
        library: The library that makes them stall.
        folder: Where everything is.
    """

    def __init__(self, case: str, ending: str, *, stalled_rank: int, library: Path, folder: Path) -> None:
        self._folder = folder
        self.fault = folder / "fault"
        self.run_dir = folder / "logs" / "runs" / "stalled"
        faults = {
            "FAULT_BELOW": str(self.run_dir),
            "FAULT_CALL": EVERY_CALL,
            "FAULT_ERROR": "0",
            "FAULT_SKIP": "0",
            "FAULT_WHILE": str(self.fault),
            "FAULT_STALL": str(folder / "stalled"),
        }
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self._ranks = [
            subprocess.Popen(
                [sys.executable, str(JOB), case, ending, str(folder / "logs")],
                env=job_environment(
                    RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0", RANKLOG_REDUCE_TIMEOUT="3", **place, **faults,
                    **({"LD_PRELOAD": str(library)} if rank == stalled_rank else {}),
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]  # fmt: skip

    def end(self, rank: int) -> tuple[int, str]:
        """Wait until a rank has ended; returns its status and output."""
        process = self._ranks[rank]
        output = process.communicate(timeout=100)[0]
        return process.returncode, output

    def let_rank_0_leave(self) -> None:
        """Have rank 0 close its logger."""
        (self._folder / "leave").touch()

    def kill(self) -> None:
        """End what still runs."""
        for process in self._ranks:
            process.kill()
            process.communicate()


def said(output: str) -> dict[str, object]:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    assert lines, output
    return dict(json.loads(lines[0]))


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    started: list[Job] = []
    yield started
    for job in started:
        job.kill()


@pytest.mark.parametrize("ending", ENDINGS)
def test_contents_that_a_rank_above_0_cannot_store_delay_neither_its_training_nor_its_end_nor_rank_0(
    ending: str, library: Path, tmp_path: Path, jobs: list[Job]
) -> None:
    jobs.append(job := Job("contents", ending, stalled_rank=1, library=library, folder=tmp_path))
    status, output = job.end(1)
    assert said(output) == {"flushed": {"behind a file": False, "behind contents": False}, "stalled": True}
    assert status == ENDINGS[ending], output
    job.let_rank_0_leave()
    assert job.end(0)[0] == 0
    assert job.fault.exists(), "the stall lasts"
    beside = series(captured(job.run_dir), "beside")
    assert sorted(beside) == list(range(len(beside)))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_spill_file_that_stalls_delays_neither_training_nor_the_end_of_its_rank(
    ending: str, library: Path, tmp_path: Path, jobs: list[Job]
) -> None:
    jobs.append(job := Job("spill", ending, stalled_rank=1, library=library, folder=tmp_path))
    status, output = job.end(1)
    assert said(output) == {"flushed": {"behind the spill file": False}, "stalled": True}
    assert status == ENDINGS[ending], output
    assert job.fault.exists(), "the stall lasts"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_disk_of_rank_0_that_stalls_delays_neither_flush_nor_the_end_of_rank_1(
    ending: str, library: Path, tmp_path: Path, jobs: list[Job]
) -> None:
    jobs.append(job := Job("rank 0", ending, stalled_rank=0, library=library, folder=tmp_path))
    status, output = job.end(1)
    assert said(output) == {"flushed": {"behind the journal": False}, "stalled": True}
    assert status == ENDINGS[ending], output
    job.let_rank_0_leave()
    assert job.end(0)[0] == 0
    assert job.fault.exists(), "the stall lasts"
