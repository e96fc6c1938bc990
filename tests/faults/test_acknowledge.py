"""`flush` on a rank above 0 returns True only once the journal of rank 0 has everything that this rank logged."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from launch import job_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the library that makes calls stall is C"),
]

JOB = Path(__file__).with_name("acknowledge_job.py")


def start(rank: int, port: int, logs: Path, **environ: str) -> subprocess.Popen[str]:
    """Start one rank as a program of its own: a fork would not load the library."""
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    return subprocess.Popen(
        [sys.executable, str(JOB), str(logs)],
        cwd=logs.parent,
        env=job_environment(**place, **group, **environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_flush_on_rank_1_is_false_while_the_disk_of_rank_0_stalls_and_true_once_the_journal_has_everything(
    call: str, library: Path, tmp_path: Path
) -> None:
    faults = {
        "LD_PRELOAD": str(library),
        "FAULT_BELOW": str(tmp_path / "logs" / "runs"),
        "FAULT_CALL": call,
        "FAULT_ERROR": "0",
        "FAULT_SKIP": "0",
        "FAULT_WHILE": str(tmp_path / "fault"),
        "FAULT_STALL": str(tmp_path / "stalled"),
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [start(rank, port, tmp_path / "logs", **faults) for rank in range(2)]
    try:
        outputs = [rank.communicate(timeout=150)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    lines = [line for line in outputs[1].splitlines() if line.startswith("{")]
    assert lines, outputs
    journaled = [[[0, 0.0], [1, 1.0]], [[1, 1.0]]]
    said = {"before": True, "during": False, "stalled": True, "after": True, "journaled": journaled}
    assert json.loads(lines[0]) == said
