"""What goes wrong around a logger costs only what it concerns, and never the training loop."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ranklog import JournalLogger
from ranklog.journal import layout, store
from ranklog.model.errors import InvalidArgumentError, RanklogWarning
from ranklog.model.record import End, Event, Item, Metrics, Params
from ranklog.process.warnings import MOST_ABOUT
from ranklog.testing import captured, series


def run_script(code: str, cwd: Path, timeout_s: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip


def test_texts_that_utf8_cannot_hold_are_written_out(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a\udc80.txt").write_text("x")
    logger = JournalLogger()
    with logger.start_logging():
        logger.save_hyperparameters({"bad": "\udc80"})
        logger.log(folder, "folder", kind="artifact")
        assert logger.flush()
        records = captured(logger)
    assert [r.values for r in records if isinstance(r, Params)] == [{"bad": "\\udc80"}]
    assert [f.path for r in records if isinstance(r, Item) for f in r.files] == ["a\\udc80.txt"]


@pytest.mark.parametrize("step", [2**63, -(2**70)])
def test_a_step_beyond_64_bits_is_refused_at_once(step: int) -> None:
    logger = JournalLogger()
    with logger.start_logging():
        logger.log(1.0, "x", step=0)
        for call in (lambda: logger.log(1.0, "x", step=step), lambda: logger.log_metrics({"x": 1.0}, step=step)):
            with pytest.raises(InvalidArgumentError, match="step="):
                call()


def test_a_record_that_cannot_be_stored_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = JournalLogger()
    with logger.start_logging():
        session = logger._session
        assert session is not None
        logger.log(1.0, "x", step=0)
        session.inbox.append(Params(0, 1, {"bad": "\udc80"}))
        with pytest.warns(RanklogWarning, match="cannot be stored and is left out"):
            logger.log(2.0, "x", step=1)
            assert not logger.flush(), "something of what was logged before is not in the journal"
        assert logger.flush(), "which is told once"
        where = logger.run_dir
    records = captured(where)
    assert series(records, "x") == {0: 1.0, 1: 2.0}
    assert any(isinstance(r, Event) and r.code == "lost_records" for r in records)
    assert [r.status for r in records if isinstance(r, End)] == ["FINISHED"]


def test_a_folder_of_many_small_files_is_not_one_huge_record(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(100):
        (folder / f"{i}.bin").write_bytes(bytes([i]) * 2000)
    logger = JournalLogger()
    with logger.start_logging():
        logger.log(folder, "many", kind="artifact")
        logger.flush()
        (item,) = [r for r in captured(logger) if isinstance(r, Item)]
        assert all(file.data is None for file in item.files)
        assert store.read_file(logger.run_dir, item.files[0]) == bytes([0]) * 2000


def test_a_logger_left_open_in_a_function_keeps_its_data(tmp_path: Path) -> None:
    code = """
from ranklog import JournalLogger
def main():
    logger = JournalLogger()
    logger.create_logger_context()
    for step in range(100):
        logger.log(float(step), "x", step=step)
main()
import gc; gc.collect()
"""
    done = run_script(code, tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = layout.find_runs(tmp_path)
    assert len(series(captured(run), "x")) == 100
    assert [r.status for r in captured(run) if isinstance(r, End)] == ["FINISHED"]


def test_flushing_often_reduces_each_row_once() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        logger = JournalLogger(reduce="mean")
        with logger.start_logging():
            for step in range(20_000):
                logger.log(float(step), "x", step=step)
                if step % 500 == 0:
                    assert logger.flush()
            logger.flush()
            steps = [r.step for r in captured(logger) if isinstance(r, Metrics)]
        assert steps == list(range(20_000))
    finally:
        sys.setswitchinterval(before)


def test_a_rank_whose_group_never_came_closes_in_time(tmp_path: Path) -> None:
    code = """
import time
from ranklog import JournalLogger
logger = JournalLogger(log_on_workers=-1)
logger.create_logger_context()
for i in range(3):
    logger.log("text", f"t{i}", kind="text")
    logger.log(1.0, "x", step=i, reduce="mean")
began = time.monotonic()
logger.destroy_logger_context(exit_timeout=5)
print(time.monotonic() - began < 6)
"""
    done = run_script(code, tmp_path, RANK="1", WORLD_SIZE="2", LOCAL_RANK="1")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def closing_with(hook: Callable[[JournalLogger], object]) -> JournalLogger:
    """A logger with a value in its inbox and a hook that runs at close."""
    logger = JournalLogger()
    logger.create_logger_context()
    assert logger._session is not None
    logger._session.at_close(lambda: hook(logger))
    logger.log(1.0, "x", step=0)
    return logger


def ended(run_dir: Path) -> list[str]:
    """Status of the run; nothing comes after it."""
    records = captured(run_dir)
    assert isinstance(records[-1], End)
    return [record.status for record in records if isinstance(record, End)]


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """Ctrl-C raises, also in a shell's background job, which begins with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_an_interrupt_while_closing_still_ends_the_run() -> None:
    logger = closing_with(lambda logger: os.kill(os.getpid(), signal.SIGINT))
    where = logger.run_dir
    with pytest.raises(KeyboardInterrupt):
        logger.destroy_logger_context()
    assert not logger.is_initialized
    assert ended(where) == ["FINISHED"]
    assert series(captured(where), "x") == {0: 1.0}


def test_a_logger_that_is_opened_again_after_an_interrupted_close_closes_its_new_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> bool:
        raise KeyboardInterrupt

    logger = JournalLogger()
    logger.create_logger_context()
    monkeypatch.setattr(logger._session, "wait_closed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        logger.destroy_logger_context()
    logger.create_logger_context()
    where = logger.run_dir
    logger.log(2.0, "x", step=0)
    logger.destroy_logger_context()
    assert ended(where) == ["FINISHED"]
    assert series(captured(where), "x") == {0: 2.0}


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), KeyboardInterrupt()])
def test_a_hook_that_raises_at_close_is_said_and_costs_nothing(error: BaseException) -> None:
    def raises(logger: JournalLogger) -> None:
        raise error

    logger = closing_with(raises)
    where = logger.run_dir
    with pytest.warns(RanklogWarning, match="closing continues after"):
        logger.destroy_logger_context()
    assert ended(where) == ["FINISHED"]
    assert series(captured(where), "x") == {0: 1.0}


def test_what_a_hook_logs_at_close_is_in_the_journal_before_the_end() -> None:
    def logs(logger: JournalLogger) -> None:
        assert session is not None
        session.sink.submit(Params(0, 1, {"late": "yes"}))

    logger = closing_with(logs)
    session, where = logger._session, logger.run_dir
    logger.destroy_logger_context()
    assert ended(where) == ["FINISHED"]
    assert {"late": "yes"} in [record.values for record in captured(where) if isinstance(record, Params)]


def test_a_closed_standard_output_does_not_stop_training(tmp_path: Path) -> None:
    code = """
import os, sys
sys.stdout.close()
os.close(1)
from ranklog import ConsoleLogger
logger = ConsoleLogger()
with logger.start_logging():
    logger.log(1.0, "x", step=0)
"""
    done = run_script(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_threads_may_log_at_once() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        threads = [
            threading.Thread(target=lambda n=n: [logger.log(float(s), f"t{n}", step=s) for s in range(500)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        logger.flush()
        records = captured(logger)
    assert all(series(records, f"t{n}") == {s: float(s) for s in range(500)} for n in range(4))


def test_sys_exit_without_an_error_is_a_good_end() -> None:
    logger = JournalLogger()
    with pytest.raises(SystemExit), logger.start_logging():
        where = logger.run_dir
        sys.exit(0)
    assert [r.status for r in captured(where) if isinstance(r, End)] == ["FINISHED"]


def test_each_item_that_is_changed_is_named_and_names_without_end_give_no_warnings_without_end(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path, strategy="single")
    wide, torn = np.full((2, 2), 300), np.full((2, 2), np.nan)
    with pytest.warns(RanklogWarning) as seen, logger.start_logging():
        for _ in range(2):
            logger.log(torn, "torn", kind="image")
            logger.log(wide, "wide", kind="image")
        for step in range(2 * MOST_ABOUT):
            logger.log(wide, f"wide/{step}", kind="image")
        run = logger.run_dir
    said = [str(each.message) for each in seen if "is not stored as it was given" in str(each.message)]
    assert "'torn'" in said[0] and "'wide'" in said[1] and len(said) == MOST_ABOUT + 1
    events = [record.text for record in captured(run) if isinstance(record, Event) and record.code == "changed_image"]
    for text in said[:2]:
        assert any(event.startswith(text.removeprefix("ranklog: ")) for event in events)
    assert f"({MOST_ABOUT + 2} times)" in events[-1]
