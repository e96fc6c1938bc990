"""The docstrings of public calls list every error that the call raises, and no other.

The property tests of odd content (`benchmarks.soak.odd_content`) hold each error that they see against the docstrings.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ranklog
from benchmarks.soak.documented import documented_errors
from ranklog import loggers, testing
from ranklog.loggers import (
    BackendLogger,
    EmptyLogger,
    JournalLogger,
    Logger,
    LoggersCollection,
    MLFlowLogger,
    backend_names,
    create_logger,
)
from ranklog.model import errors
from ranklog.testing import captured

Cases = dict[tuple[str, str], Callable[[], object]]

CLASSES = [each for each in vars(loggers).values() if inspect.isclass(each) and issubclass(each, Logger)]
CONSTRUCTORS = [each for each in (*CLASSES, testing.MemoryLogger) if each is not Logger]
NEEDED: dict[type, dict[str, Any]] = {BackendLogger: {"backend": None}, LoggersCollection: {"loggers": []}}
HELD_ELSEWHERE = {("log", "ReduceTimeoutError"): "tests/jobs/test_sharded.py needs ranks for it"}


def public_calls() -> dict[str, object]:
    """What users call, by name."""
    methods = {
        name: getattr(Logger, name)
        for name in dir(Logger)
        if not name.startswith("_") and (callable(getattr(Logger, name)) or isinstance(getattr(Logger, name), property))
    }
    own = {f"LoggersCollection.{name}": value for name, value in vars(LoggersCollection).items() if name[0] != "_"}
    functions = [create_logger, backend_names, ranklog.place, ranklog.rank_zero_only, ranklog.rank_zero_print]
    functions += [testing.captured, testing.series]
    return methods | own | {each.__name__: each for each in (*functions, *CONSTRUCTORS)}


def set_log_freq(logger: Logger, value: Any) -> None:
    logger.log_freq = value


def in_another_thread(call: Callable[[], object]) -> None:
    """Raise here what the call raises there."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    raise raised[0]


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[Logger]:
    logger = JournalLogger(tmp_path / "logs", log_freq=5, strategy="single")
    with logger.start_logging():
        yield logger


@pytest.fixture
def cases(logger: Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cases:
    """One call for each error that each docstring lists."""
    monkeypatch.chdir(tmp_path)
    closed: Any = JournalLogger(tmp_path / "logs", log_freq=5)

    def missing(package: str, call: Callable[[], object]) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        call()

    def rank(number: int, call: Callable[[], object]) -> None:
        monkeypatch.setenv("RANK", str(number))
        monkeypatch.setenv("WORLD_SIZE", "2")
        call()

    def launched_wrong(call: Callable[[], object]) -> None:
        monkeypatch.setenv("RANK", "1")
        call()

    def opened(each: Logger, ask: Callable[[Logger], object]) -> None:
        with each.start_logging(exit_timeout=1.0):
            ask(each)

    def impatient(ask: Callable[[Logger], object]) -> None:
        monkeypatch.setattr("ranklog.logger.information.ASK_TIMEOUT_S", 0.1)
        monkeypatch.setenv("RANKLOG_REDUCE_TIMEOUT", "0.1")
        rank(1, lambda: opened(JournalLogger(tmp_path / "other"), ask))

    def opened_in_another_thread(ask: Callable[[Logger], object]) -> None:
        monkeypatch.setattr("ranklog.process.signals._watch", None)  # as where no logger is open in the main thread
        in_another_thread(lambda: opened(JournalLogger(), ask))

    def opening(make: Callable[..., Logger], start: Callable[[Logger], object]) -> dict[str, Callable[[], object]]:
        existing = {"run_id": logger.run_dir.name, "resume": "never", "savedir": tmp_path / "logs"}
        return {
            "InvalidArgumentError": lambda: start(make(**existing)),
            "LaunchError": lambda: launched_wrong(lambda: start(make())),
            "MissingExtraError": lambda: missing("mpi4py", lambda: start(make(strategy="mpi"))),
            "OSError": lambda: start(make(savedir=a_file / "logs")),
        }

    def collection(**arguments: Any) -> Logger:
        return LoggersCollection([JournalLogger(**arguments)])

    a_file = tmp_path / "file"
    a_file.touch()
    in_the_way = tmp_path / "logs" / "folder"
    in_the_way.mkdir(parents=True)
    later = MLFlowLogger(tmp_path / "later", forward="later")
    openings = {
        "create_logger_context": opening(JournalLogger, lambda each: each.create_logger_context()),
        "LoggersCollection.create_logger_context": opening(collection, lambda each: each.create_logger_context()),
        "start_logging": opening(JournalLogger, lambda each: each.start_logging().__enter__()),
    }
    found: Cases = {(name, error): call for name, calls in openings.items() for error, call in calls.items()}
    for each in CONSTRUCTORS:
        found[each.__name__, "InvalidArgumentError"] = lambda each=each: each(**NEEDED.get(each, {}), zzz=1)  # type: ignore[misc]
    never = "NotStartedError"
    return found | {
        ("create_logger", "InvalidArgumentError"): lambda: create_logger("csv,csv"),
        ("backend_names", "InvalidArgumentError"): lambda: backend_names(3),  # type: ignore[arg-type]
        ("destroy_logger_context", "InvalidArgumentError"): lambda: closed.destroy_logger_context("soon"),
        ("flush", "InvalidArgumentError"): lambda: closed.flush("soon"),
        ("flush", never): closed.flush,
        ("wait_delivered", "InvalidArgumentError"): lambda: closed.wait_delivered("soon"),
        ("wait_delivered", never): closed.wait_delivered,
        ("on_preempt", "InvalidArgumentError"): lambda: logger.on_preempt(print, signals=["SIGINT"]),
        ("on_preempt", never): lambda: closed.on_preempt(print),
        ("on_preempt", "RanklogError"): lambda: opened_in_another_thread(lambda each: each.on_preempt(print)),
        ("log_freq", "InvalidArgumentError"): lambda: set_log_freq(closed, "often"),
        ("log_freq", "RanklogError"): lambda: set_log_freq(logger, "batch"),
        ("should_log", "InvalidArgumentError"): lambda: closed.should_log("x"),
        ("is_main", never): lambda: closed.is_main,
        ("is_main", "LaunchError"): lambda: launched_wrong(lambda: opened(EmptyLogger(), lambda each: each.is_main)),
        ("ranklog_run_id", never): lambda: closed.ranklog_run_id,
        ("ranklog_run_id", "RanklogError"): lambda: impatient(lambda each: each.ranklog_run_id),
        ("run_dir", never): lambda: closed.run_dir,
        ("run_dir", "RanklogError"): lambda: opened(EmptyLogger(), lambda each: each.run_dir),
        ("run_id", never): lambda: closed.run_id,
        ("run_id", "RanklogError"): lambda: opened(later, lambda each: each.run_id),
        ("experiment_id", never): lambda: closed.experiment_id,
        ("experiment_id", "RanklogError"): lambda: opened(later, lambda each: each.experiment_id),
        ("serialize", "InvalidArgumentError"): lambda: logger.serialize("x", ""),
        ("serialize", "InvalidItemError"): lambda: logger.serialize(object(), "x"),
        ("serialize", "RanklogError"): lambda: logger.serialize("x", "folder"),
        ("log", "InvalidArgumentError"): lambda: logger.log(1.0, "x", kind="metrics"),
        ("log", "InvalidItemError"): lambda: logger.log("high", "x"),
        ("log", "MissingExtraError"): lambda: missing("PIL", lambda: logger.log(np.eye(2), "x", kind="image")),
        ("log", never): lambda: closed.log(1.0, "x"),
        ("log_metrics", "InvalidArgumentError"): lambda: logger.log_metrics({"": 1.0}),
        ("log_metrics", "InvalidItemError"): lambda: logger.log_metrics({"x": "high"}),
        ("log_metrics", never): lambda: closed.log_metrics({"x": 1.0}),
        ("save_hyperparameters", "InvalidArgumentError"): lambda: logger.save_hyperparameters({"": 1}),
        ("save_hyperparameters", "InvalidItemError"): lambda: logger.save_hyperparameters(3),
        ("save_hyperparameters", never): lambda: closed.save_hyperparameters({}),
        ("reduce_now", "InvalidArgumentError"): lambda: logger.reduce_now(1.0, "median"),
        ("reduce_now", "InvalidItemError"): lambda: logger.reduce_now("high"),
        ("reduce_now", "LaunchError"): lambda: launched_wrong(
            lambda: opened(EmptyLogger(), lambda each: each.reduce_now(1.0))
        ),
        ("reduce_now", never): lambda: closed.reduce_now(1.0),
        ("reduce_now", "ReduceTimeoutError"): lambda: rank(
            0, lambda: opened(EmptyLogger(), lambda each: each.reduce_now(1.0))
        ),
        ("place", "LaunchError"): lambda: launched_wrong(ranklog.place),
        ("rank_zero_only", "LaunchError"): lambda: launched_wrong(ranklog.rank_zero_only(print)),
        ("rank_zero_print", "LaunchError"): lambda: launched_wrong(ranklog.rank_zero_print),
        ("captured", never): lambda: captured(closed),
        ("captured", "RanklogError"): lambda: opened(EmptyLogger(), captured),
    }  # fmt: skip


DOCUMENTED = sorted((name, error) for name, call in public_calls().items() for error in documented_errors(call))


@pytest.mark.parametrize(("name", "error"), DOCUMENTED)
def test_an_error_that_a_docstring_lists_is_raised(name: str, error: str, cases: Cases) -> None:
    if (name, error) in HELD_ELSEWHERE:
        pytest.skip(HELD_ELSEWHERE[name, error])
    with pytest.raises(getattr(errors, error, OSError)) as raised:
        cases[name, error]()
    assert raised.type.__name__ == error or error == "OSError"


def test_an_error_that_is_raised_is_listed(cases: Cases) -> None:
    assert set(cases) <= set(DOCUMENTED)


def test_every_public_call_says_which_ranks_make_it() -> None:
    without = [name for name, call in public_calls().items() if "Ranks: " not in (inspect.getdoc(call) or "")]
    assert without == ["series"]


ODD = st.sampled_from(
    [None, True, -1, 0, 3, 2.5, float("nan"), float("inf"), 10**400, "x", "", b"x", [], ["x"], {"a": 1}, object(), int,
     print, np.float32(1), np.array([1, 2]), "\ud800", "a\0b", np.str_("loss")]
)  # fmt: skip
ARGUMENTS: dict[str, dict[str, Any]] = {
    "flush": {"timeout": None},
    "wait_delivered": {"timeout": 1.0},
    "destroy_logger_context": {"exit_timeout": 1.0},
    "create_logger_context": {"rank": None, "run_id": None, "run_name": None, "parent_run_id": None},
    "on_preempt": {"callback": print, "signals": ("SIGUSR1",)},
    "should_log": {"batch_idx": None},
    "log": {"item": 1.0, "identifier": "x", "step": 1, "batch_idx": None, "reduce": None, "weight": None},
    "log_metrics": {"metrics": {"x": 1.0}, "step": 1, "batch_idx": None, "reduce": None, "weight": None},
    "save_hyperparameters": {"params": {}},
    "reduce_now": {"value": 1.0, "op": "mean", "weight": None, "timeout": None},
    "serialize": {"obj": "x", "name": "x"},
}


@pytest.mark.parametrize("name", ARGUMENTS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_value_of_any_type_raises_only_what_the_docstring_lists(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    needs_a_closed_one = name in ("create_logger_context", "destroy_logger_context")
    logger: Any = shared(tmp_path_factory) if not needs_a_closed_one else EmptyLogger(os.devnull)
    if name == "destroy_logger_context":
        logger.create_logger_context()
    argument = data.draw(st.sampled_from(sorted(ARGUMENTS[name])))
    given_ = {**ARGUMENTS[name], argument: data.draw(ODD)}
    try:
        getattr(logger, name)(**given_)
    except errors.RanklogError as error:
        assert type(error).__name__ in documented_errors(getattr(Logger, name))


_shared: list[Logger] = []


def shared(tmp_path_factory: pytest.TempPathFactory) -> Logger:
    """One open logger for all examples."""
    if not _shared:
        _shared.append(JournalLogger(tmp_path_factory.mktemp("shared"), log_freq=5, strategy="single"))
    if not _shared[0].is_initialized:
        _shared[0].create_logger_context()
    return _shared[0]


@pytest.fixture(scope="module", autouse=True)
def close_the_shared_one() -> Iterator[None]:
    yield
    for logger in _shared:
        logger.destroy_logger_context()
