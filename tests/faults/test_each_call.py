"""Each system call on each of ranklog's files fails in turn: the program's files and the journal stay whole."""

import itertools
import os
import shutil
import subprocess
import sys
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path

import msgspec
import pytest
from fault_each_job import STEPS

from ranklog.view.query import RunView
from ranklog.view.verify import verify_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the library that makes calls fail is C"),
]

JOB = Path(__file__).with_name("fault_each_job.py")
SHORT = 0
"""A write that comes short, in the place of an error."""

Case = tuple[str, int, int, dict[str, str]]
CASES: list[Case] = [
    ("open", ENOSPC, 1, {}),
    ("write", EIO, 1, {}),
    ("write", SHORT, 1, {}),
    ("fsync", EIO, 1, {"FAULT_LOSES": "1"}),
    ("lseek", EIO, 1, {}),
    ("close", EIO, 1, {}),
    ("rename", EIO, 1, {}),
    ("write,ftruncate,close", EIO, 3, {}),
    ("fsync,close", EIO, 2, {"FAULT_LOSES": "1"}),
    ("open,write,fsync,ftruncate,lseek,close,rename", EIO, 12, {}),
]
if os.environ.get("RANKLOG_TEST_FULL"):  # set by `benchmarks.soak.full_size`
    CASES += [
        (call, error, times, {"FAULT_LOSES": "1"} if call == "fsync" else {})
        for call, error, times in itertools.product(
            ("open", "write", "fsync", "rename"), (ENOSPC, EDQUOT, EIO, EROFS), (1, 3)
        )
    ] + [("write", SHORT, 3, {})]


class Told(msgspec.Struct):
    skip: int
    flushed: list[bool]
    told: list[str]
    struck: bool


def assert_whole(tmp_path: Path, told: Told) -> None:
    run = RunView(tmp_path / "logs" / "runs" / f"run-{told.skip}")
    assert verify_run(run.run_dir).problems == [], told
    assert [(point.step, point.value) for point in run.series("loss")] == [(s, float(s)) for s in range(STEPS)], told
    assert run.metrics()[0].superseded == 0, "nothing is there twice"
    assert [item.name for item in run.items] == ["weights.bin"], told
    assert run.summary.status == "FINISHED"
    (delivery,) = run.summary.deliveries
    assert (delivery.waiting, delivery.error) == (0, None), told


def assert_own_files_are_untouched(tmp_path: Path, told: Told) -> None:
    for path in (tmp_path / "own" / str(told.skip)).iterdir():
        expected = b"mine" if path.name.startswith("own-") else b"firstsecond"
        assert path.read_bytes() == expected, (path.name, told)


@pytest.mark.parametrize(("calls", "error", "times", "environ"), CASES)
def test_a_call_that_fails_costs_nothing_and_touches_no_file_of_the_program(
    calls: str, error: int, times: int, environ: dict[str, str], library: Path, tmp_path: Path
) -> None:
    environ = environ | {
        "LD_PRELOAD": str(library),
        "FAULT_BELOW": str(tmp_path / "logs"),
        "FAULT_CALL": calls,
        "FAULT_ERROR": str(error),
        "FAULT_TIMES": str(times),
        "FAULT_WHILE": str(tmp_path / "fault"),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, str(JOB), str(tmp_path)], env=environ, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sync = [sys.executable, "-m", "ranklog.cli", "sync", str(tmp_path / "logs")]  # where a forwarder could not start
    assert subprocess.run(sync, capture_output=True, check=False, timeout=120).returncode == 0
    runs = [msgspec.json.decode(line, type=Told) for line in done.stdout.splitlines()]
    assert [told.struck for told in runs] == [True] * (len(runs) - 1) + [False]
    for told in runs:
        assert told.flushed[-1], told
        assert_whole(tmp_path, told)
        assert_own_files_are_untouched(tmp_path, told)
