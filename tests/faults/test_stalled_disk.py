"""A disk that does not answer holds up neither flush nor close beyond their time limits, and costs nothing in the end.

The program ends the stall itself after the tested call has returned, so a call that waited for the disk would hang.
"""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ranklog.model.record import End, Event
from ranklog.testing import captured, series

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the library that makes calls stall is C"),
]

JOB = Path(__file__).with_name("stalled_disk_job.py")
STEPS = 50
LOGGED = {step: float(step) for step in range(2 * STEPS)}


def run_job(
    case: str, library: Path, tmp_path: Path, call: str = "fsync", **environ: str
) -> subprocess.CompletedProcess[str]:
    environ |= {
        "LD_PRELOAD": str(library),
        "FAULT_BELOW": str(tmp_path / "logs"),
        "FAULT_CALL": call,
        "FAULT_ERROR": "0",
        "FAULT_SKIP": "0",
        "FAULT_WHILE": str(tmp_path / "fault"),
        "FAULT_STALL": str(tmp_path / "stalled"),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, str(JOB), case, str(tmp_path / "logs")]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "runs" / "stalled"


def statuses(tmp_path: Path) -> list[str]:
    return [record.status for record in captured(run_dir(tmp_path)) if isinstance(record, End)]


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_flush_returns_false_at_its_deadline_while_the_disk_stalls_and_true_afterwards(
    call: str, library: Path, tmp_path: Path
) -> None:
    said = result(run_job("flush", library, tmp_path, call))
    assert (said["during"], said["stalled"], said["after"]) == (False, True, True)
    assert series(captured(run_dir(tmp_path)), "loss") == LOGGED
    assert statuses(tmp_path) == ["FINISHED"]


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_closing_returns_at_its_deadline_while_the_disk_stalls_and_says_so(
    call: str, library: Path, tmp_path: Path
) -> None:
    said = result(run_job("close", library, tmp_path, call))
    assert said["stalled"]
    assert any("disk is slow" in text for text in said["told"])


def test_closing_and_waiting_for_delivery_return_while_reading_the_progress_stalls(
    library: Path, tmp_path: Path
) -> None:
    said = result(run_job("delivery", library, tmp_path, "read"))
    assert said["stalled"] and not said["waited"]
    assert statuses(tmp_path) == ["FINISHED"]


def test_a_callback_at_close_that_hangs_leaves_the_run_with_its_end(library: Path, tmp_path: Path) -> None:
    said = result(run_job("hook", library, tmp_path))
    assert statuses(tmp_path) == ["FINISHED"]
    assert any("callback at close" in text for text in said["told"])


@pytest.mark.parametrize("call", ["open", "write", "rename"])
def test_items_that_wait_for_the_disk_delay_neither_flush_nor_close(call: str, library: Path, tmp_path: Path) -> None:
    if call != "write":
        call += ",write"  # the journal stalls first
    said = result(run_job("items", library, tmp_path, call))
    assert (said["during"], said["stalled"]) == (False, True)


def test_sigterm_ends_the_process_while_the_disk_stalls(library: Path, tmp_path: Path) -> None:
    done = run_job("term", library, tmp_path)
    assert done.returncode == -signal.SIGTERM, done.stdout + done.stderr
    assert (tmp_path / "fault").exists(), "the stall lasts"
    assert series(captured(run_dir(tmp_path)), "loss").keys() >= set(range(STEPS)), "flushed before"


def test_ctrl_c_while_closing_loses_nothing_of_what_was_logged(library: Path, tmp_path: Path) -> None:
    said = result(run_job("interrupt", library, tmp_path, "write"))
    assert said["interrupted"]
    assert series(captured(run_dir(tmp_path)), "loss") == LOGGED
    assert statuses(tmp_path) == ["FINISHED"]


def test_what_training_logs_while_the_disk_stalls_is_bounded_and_what_exceeds_it_is_counted_and_said(
    library: Path, tmp_path: Path
) -> None:
    said = result(run_job("bounded", library, tmp_path, "write", RANKLOG_BUFFER_MIB="0.5"))
    records = captured(run_dir(tmp_path))
    steps = series(records, "loss")
    assert len(steps) < 10_000, "0.5 MiB do not hold as many as were logged"
    assert max(steps) == 2 * STEPS + 20_000, "logged after the disk answered again"
    lost = 2 * STEPS + 20_000 + 1 - len(steps)
    dropped = [record.text for record in records if isinstance(record, Event) and record.code == "dropped"]
    assert [int(text.split()[0]) for text in dropped] == [lost]
    assert said["flushed"] == [False, True], "what was dropped is told once"
    assert said["elsewhere"] == [False, True], "and once to another thread that flushes later"
    assert len([text for text in said["told"] if "RANKLOG_BUFFER_MIB" in text]) == 1


def test_what_was_logged_before_sigterm_is_journaled_while_a_sync_still_waits_for_the_disk(
    library: Path, tmp_path: Path
) -> None:
    done = run_job("sigterm", library, tmp_path)
    assert done.returncode == -signal.SIGTERM, done.stdout + done.stderr
    assert series(captured(run_dir(tmp_path)), "loss") == {step: float(step) for step in range(3 * STEPS)}


def test_metrics_before_an_item_are_journaled_while_its_contents_wait_for_the_disk(
    library: Path, tmp_path: Path
) -> None:
    done = run_job("sigterm_behind_an_item", library, tmp_path)
    assert done.returncode == -signal.SIGTERM, done.stdout + done.stderr
    assert series(captured(run_dir(tmp_path)), "loss") == {step: float(step) for step in range(STEPS)}


def test_a_signal_anywhere_inside_flush_does_not_hang_a_callback_that_flushes(library: Path, tmp_path: Path) -> None:
    done = run_job("looping", library, tmp_path)
    assert done.returncode == -signal.SIGTERM, done.stdout + done.stderr
    assert series(captured(run_dir(tmp_path)), "loss")[0] == 0.0


@pytest.mark.parametrize(("case", "status"), [("callback_flushes", "KILLED"), ("callback_closes", "FINISHED")])
def test_a_callback_that_calls_the_logger_inside_flush_does_not_hang(
    case: str, status: str, library: Path, tmp_path: Path
) -> None:
    done = run_job(case, library, tmp_path)
    assert done.returncode == -signal.SIGTERM, done.stdout + done.stderr
    assert series(captured(run_dir(tmp_path)), "loss") == LOGGED
    ended = statuses(tmp_path)
    assert ended[:1] == [status] or (status == "KILLED" and not ended), "the forwarder writes no End"


def test_a_loss_is_false_for_a_flush_and_for_the_flush_that_a_callback_makes_inside_it(
    library: Path, tmp_path: Path
) -> None:
    said = result(run_job("nested", library, tmp_path, "write", RANKLOG_BUFFER_MIB="0.5"))
    assert (said["inner"], said["outer"], said["again"]) == ([False], False, True)


def test_calls_with_many_values_are_bounded_by_their_size(library: Path, tmp_path: Path) -> None:
    said = result(run_job("many_values", library, tmp_path, "write", RANKLOG_BUFFER_MIB="0.5"))
    assert not said["flushed"]
    kept = series(captured(run_dir(tmp_path)), "layer0")
    assert len(kept) <= 20, "0.5 MiB do not hold a hundred calls of 1,000 values"
