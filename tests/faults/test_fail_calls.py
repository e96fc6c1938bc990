"""System calls fail as on a disk that is full, over quota, broken or read-only: training goes on, nothing is lost."""

import re
import shutil
import subprocess
import sys
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path

import msgspec
import pytest

from ranklog.journal.layout import find_runs
from ranklog.journal.reader import read_run
from ranklog.model.record import Item, Metrics, Params
from ranklog.view.query import RunView
from ranklog.view.verify import verify_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the library that makes calls fail is C"),
]

HERE = Path(__file__).parent
JOB = HERE / "fault_disk_job.py"
FLUSHING_JOB = HERE / "fault_job.py"
FLUSHING_STEPS = 300
EVERYTHING = "open,write,fsync,rename,ftruncate,lseek,close"
STEPS = 200
TEXTS = [f"text-{step}" for step in (10, 60, 110, 160)]
BIG = [f"big-{step}.bin" for step in (10, 60, 110, 160)]


class Told(msgspec.Struct):
    raised: list[str]
    flushed: list[bool]
    told: list[str]
    closed_s: float = 0.0


def run_job(
    library: Path, tmp_path: Path, call: str, error: int, skip: int, *, lifts: bool, job: Path = JOB, **environ: str
) -> subprocess.CompletedProcess[str]:
    environ |= {
        "LD_PRELOAD": str(library),
        "FAULT_BELOW": str(tmp_path / "logs"),
        "FAULT_CALL": call,
        "FAULT_ERROR": str(error),
        "FAULT_SKIP": str(skip),
        "FAULT_WHILE": str(tmp_path / "fault"),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, str(job), str(tmp_path / "logs"), "lifts" if lifts else "stays"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)


def train(
    library: Path, tmp_path: Path, call: str, error: int, skip: int, *, lifts: bool, job: Path = JOB, **environ: str
) -> Told:
    done = run_job(library, tmp_path, call, error, skip, lifts=lifts, job=job, **environ)
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


@pytest.mark.parametrize(
    ("call", "error", "skip"),
    [
        # The contents of this job's artifacts are equal, so that there is one file to open and to rename.
        ("open", ENOSPC, 0),
        ("open", EROFS, 0),
        ("write", ENOSPC, 0),
        ("write", EDQUOT, 1),
        ("fsync", EIO, 0),
        ("rename", EDQUOT, 0),
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
    told = train(library, tmp_path, "write", ENOSPC, 0, lifts=True, RANKLOG_BUFFER_MIB="0.01")
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


def assert_all_is_there_once_and_in_order(tmp_path: Path) -> None:
    run = view(tmp_path)
    entries = read_run(run.run_dir)
    ordinals = [entry.ordinal for entry in entries]
    assert ordinals == sorted(set(ordinals))
    records = [entry.record for entry in entries]
    assert [(r.step, r.values) for r in records if isinstance(r, Metrics)] == [
        (step, {"loss": float(step)}) for step in range(FLUSHING_STEPS)
    ]
    assert [r.values for r in records if isinstance(r, Params)] == [{"lr": 0.1, "net.depth": 3}]
    items = [(r.name, r.step) for r in records if isinstance(r, Item)]
    for name in ("words", "weights.bin"):
        assert [step for each, step in items if each == name] == [40, 200]
    assert len(items) == 4
    assert run.summary.status == "FINISHED"
    assert verify_run(run.run_dir).problems == [], "the artifacts' contents included"
    kept = {path.name for path in (run.run_dir / "blobs").iterdir()}
    assert kept == {file.sha256 for r in records if isinstance(r, Item) for file in r.files if file.data is None}


@pytest.mark.parametrize(
    ("call", "error", "skip"),
    [
        ("open", EROFS, 0),
        ("write", EIO, 0),
        ("write", ENOSPC, 4),
        ("fsync", EDQUOT, 0),
        ("fsync", EIO, 3),
        ("rename", ENOSPC, 0),
    ],
)
def test_one_call_that_fails_is_told_once_with_its_cure_and_costs_nothing(
    call: str, error: int, skip: int, library: Path, tmp_path: Path
) -> None:
    told = train(library, tmp_path, call, error, skip, lifts=False, job=FLUSHING_JOB, FAULT_TIMES="1")
    assert told.raised == []
    assert told.flushed[-1]
    (text,) = told.told
    assert f"[Errno {error}]" in text, "the cause"
    assert "ree space or quota" in text, "the cure"
    assert_all_is_there_once_and_in_order(tmp_path)


@pytest.mark.parametrize(
    ("call", "error", "extra"),
    [
        ("write", ENOSPC, {"FAULT_TORN": "1"}),  # a frame's first half is written and taken back
        ("write,ftruncate", EIO, {"FAULT_TORN": "1"}),  # and cannot be taken back
        ("write,ftruncate,close", EIO, {"FAULT_TORN": "1"}),  # and the descriptor is gone
        (EVERYTHING, EROFS, {}),
        (EVERYTHING, EDQUOT, {"FAULT_TORN": "1"}),
        (EVERYTHING, EIO, {"FAULT_LOSES": "1"}),  # a file system that is gone for a while, with what was not synced
    ],
)
def test_flush_says_so_while_the_disk_refuses_and_then_all_is_there_in_the_order_of_the_calls(
    call: str, error: int, extra: dict[str, str], library: Path, tmp_path: Path
) -> None:
    told = train(library, tmp_path, call, error, 0, lifts=True, job=FLUSHING_JOB, **extra)
    assert told.raised == []
    assert told.flushed == [False] * 5 + [True] * 5
    assert by_cause(told) == {
        "cannot write the journal": 1,
        "cannot be stored yet": 1,
        "lost": 0,
        "could not be stored": 0,
    }
    assert_all_is_there_once_and_in_order(tmp_path)


@pytest.mark.parametrize("times", ["1", "3"])
def test_what_the_kernel_dropped_after_a_sync_that_failed_is_written_again(
    times: str, library: Path, tmp_path: Path
) -> None:
    """As on NFS above a quota: writes succeed, the sync fails, the pages are gone, and the next sync is called good."""
    told = train(
        library, tmp_path, "fsync", EDQUOT, 0, lifts=False, job=FLUSHING_JOB, FAULT_TIMES=times, FAULT_LOSES="1"
    )
    assert told.raised == []
    assert (told.flushed[0], told.flushed[-1]) == (False, True)
    assert by_cause(told)["cannot write the journal"] == 1
    assert_all_is_there_once_and_in_order(tmp_path)


def test_a_disk_that_stays_read_only_ends_neither_training_nor_its_end_and_every_record_is_counted(
    library: Path, tmp_path: Path
) -> None:
    told = train(library, tmp_path, EVERYTHING, EROFS, 0, lifts=False, job=FLUSHING_JOB)
    assert (told.raised, told.flushed) == ([], [False] * 10)
    assert told.closed_s < 6.0, "5 s were given"
    assert by_cause(told) == {
        "cannot write the journal": 1,
        "cannot be stored yet": 1,
        "lost": 1,
        "could not be stored": 1,
    }
    text = " ".join(told.told)
    assert "2 items could not be stored" in text
    # Steps, two texts, the parameters, the three troubles before, and the end.
    logged = FLUSHING_STEPS + 2 + 1 + 3 + 1
    # The facts about ranks and job are written before the disk refuses, and then perhaps not confirmed, or after.
    (counts,) = re.findall(r"(\d+) records are lost: the disk refused them until the end; (\d+) more may be lost", text)
    assert logged <= sum(map(int, counts)) <= logged + 2
    assert not view(tmp_path).damage


@pytest.mark.parametrize("call", ["open", "write"])
def test_a_large_file_and_a_model_that_the_disk_refuses_are_counted_and_training_goes_on(
    call: str, library: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    told = train(
        library, tmp_path, call, ENOSPC, 0, lifts=True, job=FLUSHING_JOB, FAULT_LARGE=str(tmp_path / "large.bin")
    )
    assert told.raised == []
    run = view(tmp_path)
    names = {item.name for item in run.items}
    assert {"large-200", "model-200"} <= names, "after the disk was well again"
    assert not {"large-40", "model-40"} & names
    lost = [event.text for event in run.events if event.code == "lost_items"]
    assert any(name in lost[0] for name in ("large-40", "model-40")), "whichever thread was first"
    assert "ree space" in lost[0]
    assert "(2 times)" in lost[-1]


def test_a_run_that_cannot_be_opened_raises_before_training_and_leaves_nothing_in_the_way(
    library: Path, tmp_path: Path
) -> None:
    done = run_job(library, tmp_path, "write", ENOSPC, 0, lifts=False, job=FLUSHING_JOB, FAULT_EARLY="1")
    assert done.returncode == 1
    assert f"[Errno {ENOSPC}]" in done.stderr
    assert list(find_runs(tmp_path / "logs")) == []
    assert [path for path in (tmp_path / "logs").rglob("*") if path.is_file()] == []
    (tmp_path / "fault").unlink()
    told = train(library, tmp_path, "write", ENOSPC, 10**6, lifts=True, job=FLUSHING_JOB)
    assert told.told == []
    assert_all_is_there_once_and_in_order(tmp_path)
