"""What a process said last is in its run when it ends badly, small, without secrets, and `ranklog show` prints it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launch import Ranks, job_environment

from ranklog import JournalLogger
from ranklog.model.record import Event
from ranklog.process.blackbox import SIZE_CHARS, share_chars
from ranklog.testing import captured
from ranklog.view.query import RunView

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("crash_job.py")
KEY = "0123456789abcdef"


def run(case: str, savedir: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    env = job_environment(MY_API_KEY=KEY, **extra)
    command = [sys.executable, str(JOB), case, str(savedir)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def last_lines(savedir: Path) -> dict[int, str]:
    return RunView(savedir / "runs" / "crashed").last_lines


@pytest.mark.parametrize(
    ("case", "cause"),
    [("block", "the weights are gone"), ("bare", "the weights are gone"), ("sigterm", "SIGTERM received")],
)
def test_the_end_of_the_output_the_cause_and_the_last_metrics_are_in_the_run(
    case: str, cause: str, tmp_path: Path
) -> None:
    done = run(case, tmp_path)
    assert done.returncode != 0
    assert f"rank 0 is at step 2 with key {KEY}" in done.stdout, "what is printed stays as it is"
    assert "a word on standard error" in done.stderr
    text = last_lines(tmp_path)[0]
    assert cause in text
    assert "loss = 0.5 at step 7" in text
    assert "rank 0 is at step 2 with key ***" in text
    assert "a word on standard error" in text
    assert " 99%" in text and "  1%" not in text
    assert "Thread 0x" not in text
    if case == "block":
        assert 'raise ValueError("the weights are gone")' in text
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_show_prints_it(tmp_path: Path) -> None:
    run("block", tmp_path)
    command = [sys.executable, "-m", "ranklog.cli", "show", str(tmp_path / "runs" / "crashed")]
    shown = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True, timeout=60).stdout
    assert "LAST LINES OF RANK 0" in shown
    assert "rank 0 is at step 2 with key ***" in shown


def test_stacks_of_all_threads_are_there_when_asked_for(tmp_path: Path) -> None:
    run("sigterm", tmp_path, RANKLOG_STACKS="1")
    text = last_lines(tmp_path)[0]
    assert "crash_job.py" in text and "in sigterm" in text


@pytest.mark.slow
def test_a_rank_that_fails_leaves_its_last_lines_in_the_run_of_all(tmp_path: Path) -> None:
    job = Ranks(2, JOB, "ranks", str(tmp_path), cwd=tmp_path, MY_API_KEY=KEY, RANKLOG_REDUCE_TIMEOUT="4")
    done = job.finish([0, 1])
    assert done[1].code == 1, done[1].output
    text = last_lines(tmp_path)[1]
    assert "ValueError: only here" in text
    assert "rank 1 is at step 2" in text
    assert "loss = 1 at step 7" in text


def test_a_run_that_ends_well_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = JournalLogger(tmp_path, run_id="crashed")
    with logger.start_logging():
        print("hello")
    assert last_lines(tmp_path) == {}
    assert "write" not in vars(sys.stdout), "nobody listens any more"
    assert capsys.readouterr().out == "hello\n"


def test_much_output_costs_little(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path, run_id="crashed")
    with pytest.raises(ValueError, match="at the end"), logger.start_logging():
        for line in range(5000):
            print(f"{line} " + "x" * 200)
        raise ValueError("at the end")
    text = last_lines(tmp_path)[0]
    assert len(text) <= SIZE_CHARS
    assert "4999 xxx" in text
    assert share_chars(10_000) * 10_000 <= 5_000_000


def test_the_first_nan_of_a_metric_is_an_event_with_rank_and_step(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path, run_id="crashed")
    with logger.start_logging():
        for step in range(10):
            logger.log_metrics({"good": 1.0, "bad": float("nan") if step >= 4 else 0.0}, step=step)
    events = [r for r in captured(tmp_path / "runs" / "crashed") if isinstance(r, Event)]
    assert [(e.code, e.rank, e.step, e.text.partition(":")[0]) for e in events] == [("nonfinite", 0, 4, "bad")]
