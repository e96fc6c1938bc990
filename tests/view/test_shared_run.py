"""A run that several threads or processes use, or whose cache is damaged meanwhile, answers as if it were alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from journals import write

from ranklog.model.record import End, Metrics
from ranklog.view.index import tables
from ranklog.view.index.cache import CacheLock
from ranklog.view.run import Run

ROWS = 256


def rows(first: int, count: int = ROWS) -> list[Metrics]:
    return [Metrics(step, step, -1, {"loss": step / 7, "lr": 0.1 + step % 3}) for step in range(first, first + count)]


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, with blocks as small as can be."""
    monkeypatch.setattr(tables, "BLOCK_ROWS", 64)
    monkeypatch.setenv("RANKLOG_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write(tmp_path / "run", 0, rows(0))
    write(tmp_path / "run", 1, [*rows(100), End("FINISHED", 1)])
    return tmp_path / "run"


QUESTIONS: dict[str, Callable[[Run], object]] = {
    "status": lambda run: run.status,
    "deliveries": lambda run: run.deliveries,
    "outlook": lambda run: run.outlook(),
    "efficiency": lambda run: run.efficiency(),
    "names": lambda run: run.names(),
    "metrics": lambda run: [*map(str, run.metrics().numpy().values())],
    "line": lambda run: run.line(),
    "html": lambda run: run._repr_html_(),
    "follow": lambda run: [*run.follow()],
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_answer_suffers_from_damage_of_the_cache(run_dir, cache_dir, question):
    with Run(run_dir) as run:
        wanted = QUESTIONS[question](run)
    (blocks,) = cache_dir.rglob("blocks-*")
    blocks.write_bytes(bytes(blocks.stat().st_size))
    with Run(run_dir) as run:
        assert QUESTIONS[question](run) == wanted


def test_threads_may_ask_and_refresh_one_run_while_it_grows(run_dir):
    failed: list[BaseException] = []
    written = threading.Event()

    def ask(question: Callable[[Run], object]) -> None:
        try:
            while not written.is_set():
                question(run)
        except BaseException as error:
            failed.append(error)

    with Run(run_dir) as run:
        questions = [lambda run: run.refresh(), lambda run: run.metrics("loss"), lambda run: run.status]
        threads = [threading.Thread(target=ask, args=(question,)) for question in questions * 2]
        for thread in threads:
            thread.start()
        for attempt in range(2, 12):
            write(run_dir, attempt, rows(100 * attempt))
        written.set()
        for thread in threads:
            thread.join()
        run.refresh()
        with Run(run_dir) as fresh:
            assert QUESTIONS["metrics"](run) == QUESTIONS["metrics"](fresh)
    assert failed == []


def in_child(task: Callable[[], bool]) -> int:
    """Return the exit status of a forked child: 0 if its task returned true."""
    if (pid := os.fork()) == 0:
        status = 1
        try:
            status = 0 if task() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_reads_the_run_and_leaves_the_cache_to_its_parent(run_dir, cache_dir):
    with Run(run_dir) as run:
        assert len(run.names()) == 2
        (blocks,) = cache_dir.rglob("blocks-*")
        before = blocks.read_bytes()
        write(run_dir, 2, rows(1000))
        assert in_child(lambda: len(run.metrics("loss", start=1000)) == ROWS) == 0
        assert blocks.read_bytes() == before
        run.refresh()
        assert len(run.metrics("loss", start=1000)) == ROWS


def test_a_child_that_lives_on_does_not_keep_the_cache_locked(run_dir, cache_dir):
    run = Run(run_dir)
    run.names()
    reads, writes = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(writes)
        os.read(reads, 1)  # until the parent is done
        os._exit(0)
    try:
        run.close()
        lock = CacheLock(next(cache_dir.rglob("lock")).parent)
        assert lock.held
        lock.release()
    finally:
        os.close(writes)
        os.waitpid(pid, 0)
        os.close(reads)
