"""`flush` on a rank above 0 answers True only once the journal of rank 0 has what this rank logged."""

import json
import shutil
from pathlib import Path

import pytest
from launch import Ranks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the library that makes calls stall is C"),
]

JOB = Path(__file__).with_name("acknowledge_job.py")


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_flush_on_rank_1_is_false_while_the_disk_of_rank_0_stalls_and_true_once_the_journal_has_everything(
    call: str, library: Path, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    ranks = Ranks(
        2,
        JOB,
        str(logs),
        cwd=tmp_path,
        LD_PRELOAD=str(library),
        FAULT_BELOW=str(logs / "runs"),
        FAULT_CALL=call,
        FAULT_ERROR="0",
        FAULT_SKIP="0",
        FAULT_WHILE=str(tmp_path / "fault"),
        FAULT_STALL=str(tmp_path / "stalled"),
    )
    try:
        done = ranks.finish([0, 1], timeout_s=100)
    finally:
        ranks.kill()
    line = next(line for line in done[1].output.splitlines() if line.startswith("{"))
    journaled = [[[0, 0.0], [1, 1.0]], [[1, 1.0]]]
    said = {"before": True, "during": False, "stalled": True, "after": True, "journaled": journaled}
    assert json.loads(line) == said
