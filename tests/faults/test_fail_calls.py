"""System calls fail as on a disk that is full, over quota, broken or read-only: training goes on, nothing is lost."""

import shutil
import subprocess
import sys
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ranklog.view.query import RunView
from ranklog.view.verify import verify_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the library that makes calls fail is C"),
]

HERE = Path(__file__).parent
JOB = HERE / "fault_disk_job.py"
STEPS = 200
TEXTS = [f"text-{step}" for step in (10, 60, 110, 160)]
BIG = [f"big-{step}.bin" for step in (10, 60, 110, 160)]


class Told(msgspec.Struct):
    raised: list[str]
    flushed: list[bool]
    told: list[str]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("library") / "fail_calls.so"
    source = str(HERE / "fail_calls.c")
    subprocess.run(["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(built), source, "-ldl"], check=True)
    return built


def train(
    library: Path, tmp_path: Path, call: str, error: int, skip: int, *, lifts: bool, buffer_mib: str = "64"
) -> Told:
    environ: dict[str, Any] = {
        "LD_PRELOAD": str(library),
        "FAULT_BELOW": str(tmp_path / "logs"),
        "FAULT_CALL": call,
        "FAULT_ERROR": str(error),
        "FAULT_SKIP": str(skip),
        "FAULT_WHILE": str(tmp_path / "fault"),
        "RANKLOG_BUFFER_MIB": buffer_mib,
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, str(JOB), str(tmp_path / "logs"), "lifts" if lifts else "stays"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return msgspec.json.decode(done.stdout, type=Told)


def view(tmp_path: Path) -> RunView:
    return RunView(tmp_path / "logs" / "runs" / "refused")


def by_cause(told: Told) -> dict[str, int]:
    causes = {"cannot write the journal": 0, "cannot be stored yet": 0, "lost": 0, "could not be stored": 0}
    for text in told.told:
        (cause,) = [cause for cause in causes if cause in text]
        causes[cause] += 1
    return causes


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("open", ENOSPC),
        ("open", EROFS),
        ("write", ENOSPC),
        ("write", EDQUOT),
        ("fsync", EIO),
        ("rename", EDQUOT),
    ],
)
def test_when_space_returns_everything_is_in_the_journal_once_and_each_cause_was_told_once(
    call: str, error: int, skip: int, library: Path, tmp_path: Path
) -> None:
    told = train(library, tmp_path, call, error, skip, lifts=True)
    assert told.raised == []
    assert told.flushed == [False, True], "what was not kept at the first flush is kept at the second"
    causes = by_cause(told)
    assert max(causes.values()) == 1
    assert (causes["lost"], causes["could not be stored"]) == (0, 0)
    assert all("ree space or quota" in text and f"[Errno {error}]" in text for text in told.told)
    run = view(tmp_path)
    assert [(p.step, p.value) for p in run.series("loss")] == [(step, float(step)) for step in range(STEPS)]
    assert sorted(item.name for item in run.items) == sorted(TEXTS + BIG)
    assert run.metrics()[0].superseded == 0, "nothing is there twice"
    assert run.summary.status == "FINISHED"
    assert verify_run(run.run_dir).problems == []


@pytest.mark.parametrize("skip", [0, 3])
def test_writes_that_come_short_are_finished(skip: int, library: Path, tmp_path: Path) -> None:
    told = train(library, tmp_path, "write", 0, skip, lifts=False)
    assert told == Told([], [True, True], [])
    run = view(tmp_path)
    assert len(run.series("loss")) == STEPS
    assert sorted(item.name for item in run.items) == sorted(TEXTS + BIG)
    assert verify_run(run.run_dir).problems == []


@pytest.mark.parametrize(("call", "error"), [("open", ENOSPC), ("write", ENOSPC), ("fsync", EIO)])
def test_when_space_never_returns_training_ends_well_and_what_is_lost_is_counted(
    call: str, error: int, library: Path, tmp_path: Path
) -> None:
    told = train(library, tmp_path, call, error, 0, lifts=False)
    assert told.raised == []
    assert told.flushed == [False, False]
    assert f"{len(BIG)} items could not be stored" in " ".join(told.told)
    run = view(tmp_path)
    assert not run.damage
    if call == "write":
        # 200 steps, four texts, what was told, and the end.
        (lost,) = [text for text in told.told if "records are lost" in text]
        assert int(lost.split()[1]) >= STEPS + len(TEXTS) + 1
        assert run.names == []
    else:
        assert len(run.series("loss")) == STEPS


def test_what_exceeds_the_buffer_is_counted_in_the_run_once_the_disk_is_well_and_shown_by_ls(
    library: Path, tmp_path: Path
) -> None:
    told = train(library, tmp_path, "write", ENOSPC, 0, lifts=True, buffer_mib="0.01")
    assert (told.raised, told.flushed) == ([], [False, True])
    run = view(tmp_path)
    steps = [point.step for point in run.series("loss")]
    assert steps[-1] == STEPS - 1, "the disk is well again"
    assert 0 < len(steps) < STEPS
    (dropped,) = [event for event in run.events if event.code == "dropped" and "records were lost" in event.text]
    # Up to the middle: a step is a record, as are a text and what was told.
    missing = STEPS - len(steps) + len(TEXTS) - len([item for item in run.items if item.kind == "text"])
    assert int(dropped.text.split()[0]) == missing
    command = [sys.executable, "-m", "ranklog.cli", "ls", str(tmp_path / "logs")]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{missing} records" in " ".join(listed.split())
