"""An opening that fails half-way leaves nothing behind, and the next one is as if it had been the first."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranklog import JournalLogger
from ranklog.journal.cursor import Cursor, save_cursor
from ranklog.journal.layout import find_runs
from ranklog.model.errors import RanklogError, RanklogWarning
from ranklog.model.record import End
from ranklog.testing import captured, series

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def held() -> dict[str, object]:
    """What an open logger holds of its process."""
    streams = [stream.write for stream in (sys.stdout, sys.stderr) if stream is not None]
    return {
        "threads": {thread.name for thread in threading.enumerate()},
        "descriptors": set(descriptors().values()),
        "children": children(),
        "handlers": [signal.getsignal(number) for number in SIGNALS],
        "hooks": [sys.excepthook, *streams],
    }


def check_nothing_more(before: dict[str, object]) -> None:
    """Nothing is held that was not before; what earlier tests left may have gone meanwhile."""
    now = held()
    for name in ("threads", "descriptors", "children"):
        assert now[name] <= before[name], name  # type: ignore[operator]
    assert (now["handlers"], now["hooks"]) == (before["handlers"], before["hooks"])


def descriptors() -> dict[int, Path]:
    """Open descriptors with what they name."""
    listed: dict[int, Path] = {}
    for link in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the one that lists
            listed[int(link.name)] = link.readlink()
    return listed


def files(savedir: Path) -> list[Path]:
    return sorted(path for path in savedir.rglob("*") if path.is_file())


def check_that_it_works(savedir: Path) -> None:
    logger = JournalLogger(savedir, strategy="single")
    with logger.start_logging():
        logger.log(1.0, "loss", step=0)
        assert logger.flush()
    (run,) = find_runs(savedir)
    assert series(captured(run), "loss") == {0: 1.0}
    assert [record.status for record in captured(run) if isinstance(record, End)] == ["FINISHED"]


@pytest.fixture
def warmed(tmp_path: Path) -> None:
    """What is loaded once by the first logger of a process is loaded."""
    check_that_it_works(tmp_path / "warm")


class Starts:
    """Lets no further thread start after so many, as a limit on processes does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1_000
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if thread.name.startswith("ranklog"):
                self.left -= 1
                if self.left < 0:
                    raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.mark.filterwarnings("ignore::ranklog.model.errors.RanklogWarning")
@pytest.mark.parametrize("world", ["single", "rank 0 of 2"])
@pytest.mark.usefixtures("warmed")
def test_a_thread_that_cannot_be_started_leaves_no_trace_of_the_opening(
    world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if world != "single":
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
    starts = Starts(monkeypatch)
    failed = 0
    for allowed in range(10):
        savedir = tmp_path / f"logs-{allowed}"
        before, starts.left = held(), allowed
        logger = JournalLogger(savedir, strategy="single" if world == "single" else "auto")
        try:
            logger.create_logger_context()
        except RuntimeError:
            failed += 1
            assert not logger.is_initialized
            check_nothing_more(before)
            assert files(savedir) == []
        else:
            starts.left = 1_000
            logger.destroy_logger_context(exit_timeout=0.1)
            break
    assert failed, "it is started in a thread"


@pytest.mark.usefixtures("warmed")
def test_closing_reports_the_errors_of_backends_also_when_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(monkeypatch)
    logger = JournalLogger(tmp_path, strategy="single")
    logger.create_logger_context()
    assert logger.flush()
    save_cursor(logger.run_dir, 0, Cursor(backend="mlflow", error="connection refused"))
    starts.left = 0
    with pytest.warns(RanklogWarning, match="cannot deliver to mlflow"):
        logger.destroy_logger_context(exit_timeout=5)


@pytest.mark.filterwarnings("ignore::ranklog.model.errors.RanklogWarning")
@pytest.mark.usefixtures("warmed")
def test_ctrl_c_when_the_drain_thread_has_just_started_leaves_no_trace_of_the_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "ranklog-drain":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    before = held()
    with pytest.raises(KeyboardInterrupt):
        JournalLogger(tmp_path / "logs", strategy="single").create_logger_context()
    check_nothing_more(before)
    assert files(tmp_path / "logs") == []
    monkeypatch.undo()
    check_that_it_works(tmp_path / "after")


@contextlib.contextmanager
def at_most(descriptors: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("warmed")
def test_too_few_descriptors_leave_no_trace_of_the_opening(tmp_path: Path) -> None:
    failed = 0
    for more in range(30):
        savedir = tmp_path / f"logs-{more}"
        before = held()
        numbers = descriptors()
        free = [number for number in range(max(numbers) + 64) if number not in numbers]
        logger = JournalLogger(savedir, strategy="single")
        try:
            with warnings.catch_warnings(record=True), at_most(free[more]):
                logger.create_logger_context()
        except (OSError, RanklogError):
            failed += 1
            assert not logger.is_initialized
            check_nothing_more(before)
            assert files(savedir) == []
        else:
            logger.destroy_logger_context()
            break
    assert failed > 1
    check_that_it_works(tmp_path / "after")


@pytest.mark.usefixtures("warmed")
def test_a_resumed_run_that_fails_to_open_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = JournalLogger(tmp_path, strategy="single", run_id="resumed")
    with first.start_logging():
        first.log(1.0, "loss", step=0)
    before = {path: path.read_bytes() for path in files(tmp_path)}
    Starts(monkeypatch).left = 0
    with pytest.raises(RuntimeError, match="new thread"):
        JournalLogger(tmp_path, strategy="single", run_id="resumed").create_logger_context()
    assert {path: path.read_bytes() for path in files(tmp_path)} == before


NAMED = """
import os
from ranklog import JournalLogger
from ranklog.model.errors import InvalidArgumentError

os.environ.update(RANKLOG_RUN_ID="named", RANKLOG_BUFFER_MIB="none")
logger = JournalLogger(strategy="single")
try:
    logger.create_logger_context()
except InvalidArgumentError:
    print("refused")
del os.environ["RANKLOG_BUFFER_MIB"]
with logger.start_logging():
    print(logger.ranklog_run_id)
"""


def test_a_name_from_the_environment_is_not_used_up_by_an_opening_that_fails(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", NAMED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["refused", "named"], done.stderr
