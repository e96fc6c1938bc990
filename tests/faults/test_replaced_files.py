"""Network file systems report a lost race as EPERM, and hide a file for an instant while it is replaced.

SFTP has no code for "exists", so the loser of an exclusive creation gets EPERM on sshfs.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the library that makes calls fail is C"),
]

JOB = Path(__file__).with_name("replaced_files_job.py")


def result(case: str, library: Path, tmp_path: Path, call: str, error: int, times: int) -> Any:
    environ = {
        "LD_PRELOAD": str(library),
        "FAULT_BELOW": str(tmp_path / "run"),
        "FAULT_CALL": call,
        "FAULT_ERROR": str(error),
        "FAULT_SKIP": "0",
        "FAULT_TIMES": str(times),
        "FAULT_WHILE": str(tmp_path / "fault"),
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, str(JOB), case, str(tmp_path / "run")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_writer_that_loses_a_segments_name_with_eperm_takes_the_next_one(library: Path, tmp_path: Path) -> None:
    assert result("journal", library, tmp_path, "open", errno.EPERM, 1) == [3, [{"loss": 0.5}]]


def test_a_lock_that_is_lost_with_eperm_is_held_by_the_other(library: Path, tmp_path: Path) -> None:
    assert result("lock", library, tmp_path, "open", errno.EPERM, 1) == "locked"


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ESTALE], ids=["ENOENT", "ESTALE"])
@pytest.mark.parametrize(("case", "read"), [("cursor", 7), ("facts", "run")])
def test_a_file_that_is_missing_for_an_instant_is_read_again(
    case: str, read: object, error: int, library: Path, tmp_path: Path
) -> None:
    assert result(case, library, tmp_path, "read", error, 1) == read
