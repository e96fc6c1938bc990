"""The calls users make: what is logged, what is refused, what raises."""

import os
import threading
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ranklog import EmptyLogger, JournalLogger, LoggersCollection, create_logger
from ranklog.journal.descriptor import Descriptor
from ranklog.logger.logger import Logger
from ranklog.loggers import (
    BackendLogger,
    ConsoleLogger,
    MLFlowLogger,
    Prov4MLLogger,
    TensorBoardLogger,
    WandBLogger,
)
from ranklog.model.errors import (
    InvalidArgumentError,
    InvalidItemError,
    NotStartedError,
    RanklogError,
    RanklogWarning,
)
from ranklog.model.kinds import KINDS
from ranklog.model.record import Attempt, End, Item, Metrics, Params
from ranklog.testing import MemoryBackend, MemoryLogger, captured, series


def journal_of(logger: JournalLogger, **calls: object) -> Path:
    return logger.run_dir


def test_what_is_logged_is_in_the_journal_after_flush() -> None:
    logger = JournalLogger()
    assert not logger.is_initialized
    with logger.start_logging():
        assert logger.is_initialized
        logger.log(0.5, "loss", step=3)
        logger.log_metrics({"a": 1.0, "b": 2}, step=4)
        assert logger.flush()
        records = captured(logger)
    assert series(records, "loss") == {3: 0.5}
    assert series(records, "a") == {4: 1.0}
    assert series(records, "b") == {4: 2.0}


def test_a_run_that_ends_is_finished_and_one_whose_block_raises_is_failed() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        good = logger.run_dir
    with pytest.raises(ZeroDivisionError), logger.start_logging():
        bad = logger.run_dir
        raise ZeroDivisionError("by hand")
    ends = [record for run in (good, bad) for record in captured(run) if isinstance(record, End)]
    assert [(end.status, end.reason) for end in ends] == [
        ("FINISHED", ""),
        ("FAILED", "ZeroDivisionError: by hand"),
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda log: log.log(1.0, "x"),
        lambda log: log.log_metrics({"x": 1.0}),
        lambda log: log.log("t", "x", kind="text"),
        lambda log: log.save_hyperparameters({}),
        lambda log: log.flush(),
        lambda log: log.wait_delivered(),
        lambda log: log.run_id,
        lambda log: log.is_main,
    ],
)
def test_use_before_the_context_names_create_logger_context(call: object) -> None:
    with pytest.raises(NotStartedError, match="create_logger_context"):
        call(JournalLogger())  # type: ignore[operator]
    assert issubclass(NotStartedError, RuntimeError)


def test_use_after_the_end_is_an_error_too() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        pass
    with pytest.raises(NotStartedError, match="after logging ended"):
        logger.log(1.0, "x")
    logger.destroy_logger_context()


def test_a_logger_that_was_closed_still_tells_of_its_run_until_the_next_one() -> None:
    board = TensorBoardLogger(forward="later")
    logger = LoggersCollection([board])
    for _ in range(2):
        with logger.start_logging():
            open_then = logger.run_dir, logger.ranklog_run_id, logger.run_id, logger.experiment_id
        assert (logger.run_dir, logger.ranklog_run_id, logger.run_id, logger.experiment_id) == open_then
        assert board.run_dir == logger.run_dir


def test_a_second_context_warns_and_does_nothing() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        before = logger.ranklog_run_id
        with pytest.warns(RanklogWarning, match="no effect"):
            logger.create_logger_context()
        assert logger.ranklog_run_id == before


def test_a_logger_can_be_opened_again_for_another_run() -> None:
    logger = JournalLogger()
    ids = []
    for _ in range(2):
        with logger.start_logging():
            ids.append(logger.ranklog_run_id)
    assert len(set(ids)) == 2


def test_two_loggers_of_one_type_are_refused() -> None:
    with pytest.raises(ValueError, match="two loggers of type ConsoleLogger"):
        LoggersCollection([ConsoleLogger(), ConsoleLogger()])


def test_members_that_ask_for_different_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="different run_id"):
        LoggersCollection([ConsoleLogger(run_id="a"), TensorBoardLogger(run_id="b")])


def test_each_member_of_a_collection_keeps_its_own_frequency() -> None:
    logger = LoggersCollection(
        [
            ConsoleLogger(log_freq=10, forward="later"),
            MLFlowLogger(log_freq="epoch", forward="later"),
            TensorBoardLogger(log_freq="batch", forward="later"),
        ]
    )
    with logger.start_logging():
        logger.log(1.0, "tenth", step=0, batch_idx=20)
        logger.log(1.0, "other", step=0, batch_idx=21)
        logger.log(1.0, "epoch", step=1)
        logger.flush()
        masks = {name: r.to for r in captured(logger) if isinstance(r, Metrics) for name in r.values}
    assert masks == {"tenth": 0b101, "other": 0b100, "epoch": 0b111}


def test_a_member_used_by_itself_reaches_its_own_backend() -> None:
    console, board = ConsoleLogger(forward="later"), TensorBoardLogger(forward="later")
    with LoggersCollection([console, board]).start_logging():
        board.log(1.0, "x", step=0)
        board.flush()
        assert [r.to for r in captured(board) if isinstance(r, Metrics)] == [0b10]
    with pytest.raises(NotStartedError):
        board.log(1.0, "x")


def test_steps_count_up_for_each_identifier_when_none_is_given() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        for value in (5.0, 6.0):
            logger.log(value, "a")
        logger.log(7.0, "b")
        logger.flush()
        records = captured(logger)
    assert series(records, "a") == {0: 5.0, 1: 6.0}
    assert series(records, "b") == {0: 7.0}


def test_numbers_of_every_make_are_metrics() -> None:
    import torch

    given = {
        "int": 3, "bool": True, "float32": np.float32(0.5), "array": np.array(2.5), "int64": np.int64(7),
        "tensor": torch.tensor(1.5), "bfloat16": torch.tensor(2.0, dtype=torch.bfloat16), "big": 2**53 + 2,
        "one": torch.tensor([4.0]), "nan": float("nan"), "inf": float("-inf"),
    }  # fmt: skip
    logger = JournalLogger()
    with logger.start_logging():
        logger.log_metrics(given, step=0)
        logger.flush()
        values = next(r.values for r in captured(logger) if isinstance(r, Metrics))
    assert values.pop("nan") != values.get("nan")
    assert values == {
        "int": 3.0, "bool": 1.0, "float32": 0.5, "array": 2.5, "int64": 7.0, "tensor": 1.5, "bfloat16": 2.0,
        "big": float(2**53 + 2), "one": 4.0, "inf": float("-inf"),
    }  # fmt: skip


def test_a_tensor_changed_after_the_call_was_logged_as_it_was() -> None:
    import torch

    tensor, mapping = torch.tensor(1.0), {"m": 1.0}
    logger = JournalLogger()
    with logger.start_logging():
        logger.log(tensor, "t", step=0)
        logger.log_metrics(mapping, step=0)
        tensor.add_(1)
        mapping["m"] = 2.0
        logger.flush()
        records = captured(logger)
    assert series(records, "t") == {0: 1.0}
    assert series(records, "m") == {0: 1.0}


def test_a_mapping_logged_as_a_metric_is_a_group_of_series() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        logger.log({"train": 1.0, "test": 2.0}, "loss", step=0)
        logger.flush()
        assert series(captured(logger), "loss/test") == {0: 2.0}


def test_sequences_of_items_and_identifiers_log_each() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        logger.log([1.0, 2.0], ["a", "b"], step=0)
        logger.log(["x", "y"], ["t1", "t2"], kind="text")
        with pytest.raises(ValueError, match="3 items with 2 identifiers"):
            logger.log([1.0, 2.0, 3.0], ["a", "b"])
        logger.flush()
        records = captured(logger)
    assert series(records, "b") == {0: 2.0}
    assert [r.name for r in records if isinstance(r, Item)] == ["t1", "t2"]


@pytest.mark.parametrize(
    ("error", "text", "call"),
    [
        (InvalidArgumentError, "kind='metrics' is not known: give one of metric, param", {"kind": "metrics"}),
        (InvalidArgumentError, "reduce='avg' is not known: give None or one of mean", {"reduce": "avg"}),
        (InvalidArgumentError, "weight=-1", {"weight": -1, "reduce": "mean"}),
        (InvalidArgumentError, "step='3' is not allowed: give an int or None", {"step": "3"}),
        (InvalidArgumentError, "1 to 512 printable", {"identifier": "a\nb"}),
        (InvalidArgumentError, "1 to 512 printable", {"identifier": ""}),
        (InvalidArgumentError, "give a str", {"identifier": 3}),
        (InvalidItemError, "metric 'x' is a str: give a number", {"item": "high"}),
        (InvalidItemError, r"metric 'x' is a torch.Tensor of shape \(2,\)", {"item": "tensor"}),
        (InvalidItemError, "metric 'x' is None", {"item": None}),
        (InvalidArgumentError, "is for kind='metric'", {"kind": "text", "item": "t", "reduce": "mean"}),
        (InvalidItemError, "text 'x' is a float", {"kind": "text"}),
        (InvalidItemError, "no file or folder at 'missing.csv'", {"kind": "artifact", "item": "missing.csv"}),
        (InvalidItemError, "model 'x' is a float", {"kind": "model"}),
    ],
    ids=lambda v: str(v)[:40] if isinstance(v, str) else "",
)
def test_a_wrong_call_raises_at_once_with_cause_and_cure(
    error: type[Exception], text: str, call: dict[str, object]
) -> None:
    import torch

    if call.get("item") == "tensor":
        call = {**call, "item": torch.zeros(2)}
    logger = JournalLogger()
    with logger.start_logging(), pytest.raises(error, match=text):
        logger.log(**{"item": 1.0, "identifier": "x", **call})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [{"run_id": "../x"}, {"run_id": ""}, {"resume": "maybe"}, {"forward": "now"}, {"reduce": "avg"},
     {"log_freq": 0}, {"log_on_workers": "all"}, {"strategy": "slurmish"}],
    ids=str,
)  # fmt: skip
def test_a_wrong_constructor_argument_is_refused_before_anything_is_written(
    arguments: dict[str, object],
) -> None:
    with pytest.raises(InvalidArgumentError), JournalLogger(**arguments).start_logging():
        pass
    assert not list(Path().rglob("journal-*"))


@pytest.mark.parametrize(
    "logger",
    [
        ConsoleLogger("logs", 5, -1),
        EmptyLogger("logs", 5, -1),
        MLFlowLogger("logs", "exp", None, None, None, 5, -1),
        Prov4MLLogger("https://example.org/", "exp", "prov", 100, True, True, 5, -1),
        TensorBoardLogger("logs", "PyTorch", log_freq=5, log_on_workers=-1),
    ],
    ids=lambda logger: type(logger).__name__,
)
def test_arguments_may_stand_where_itwinai_has_them(logger: Logger) -> None:
    assert [(spec.log_freq, spec.log_on_workers) for spec in logger._config.specs] in ([], [(5, -1)])


@pytest.mark.parametrize("make", [lambda: WandBLogger("logs", "p", "batch"), lambda: TensorBoardLogger("logs", 5)])
def test_a_frequency_in_the_place_of_another_argument_is_no_such_argument(make: object) -> None:
    with pytest.raises(InvalidArgumentError, match="log_freq and log_on_workers are given by name"):
        make()  # type: ignore[operator]


def test_options_that_a_kind_does_not_have_are_named_once() -> None:
    logger = JournalLogger()
    with (
        logger.start_logging(),
        pytest.warns(RanklogWarning, match="option registered_model_name= of kind='text'"),
    ):
        logger.log("t", "x", kind="text", registered_model_name="m")


def test_hyperparameters_are_flattened_whatever_the_frequency_is() -> None:
    logger = JournalLogger(log_freq=1000)
    with logger.start_logging():
        logger.save_hyperparameters({"lr": 1e-3, "optimizer": {"name": "adam"}})
        logger.log(7, "seed", kind="param")
        logger.flush()
        params = [r.values for r in captured(logger) if isinstance(r, Params)]
    assert params == [{"lr": 1e-3, "optimizer.name": "adam"}, {"seed": 7}]


def test_a_run_can_be_gone_on_with_and_each_start_is_an_attempt() -> None:
    for _ in range(2):
        with JournalLogger(run_id="mine").start_logging():
            pass
    logger = JournalLogger(run_id="mine", resume="must")
    with logger.start_logging():
        assert [r.attempt for r in captured(logger) if isinstance(r, Attempt)] == [0, 1, 2]
    with pytest.raises(InvalidArgumentError, match='resume="never"'):
        JournalLogger(run_id="mine", resume="never").create_logger_context()
    with pytest.raises(InvalidArgumentError, match='resume="must"'):
        JournalLogger(run_id="other", resume="must").create_logger_context()


def test_everything_written_is_private_whatever_the_umask() -> None:
    old = os.umask(0)
    try:
        logger = JournalLogger()
        with logger.start_logging():
            logger.log(b"x" * 100_000, "big.bin", kind="artifact")
        modes = {p.stat().st_mode & 0o777 for p in Path("mllogs").rglob("*") if p.is_file()}
        assert modes == {0o600}
        assert {p.stat().st_mode & 0o777 for p in Path("mllogs").rglob("*") if p.is_dir()} == {0o700}
    finally:
        os.umask(old)


def test_a_password_in_a_tracking_uri_is_in_no_file() -> None:
    logger = MLFlowLogger(tracking_uri="http://ada:geheim@127.0.0.1:9/", forward="later")
    with logger.start_logging():
        logger.flush()
        where = logger.run_dir
    assert not any(b"geheim" in path.read_bytes() for path in where.rglob("*") if path.is_file())


def test_a_forked_child_is_inert_and_the_parent_goes_on() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        logger.log(1.0, "parent", step=0)
        child = os.fork()
        if child == 0:
            try:
                logger.log(2.0, "child", step=0)
                logger.flush()
                logger.destroy_logger_context()
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        logger.log(1.5, "parent", step=1)
        logger.flush()
        records = captured(logger)
    assert series(records, "parent") == {0: 1.0, 1: 1.5}
    assert series(records, "child") == {}


def test_a_full_disk_never_raises_and_nothing_is_lost_when_it_has_space_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, full = Descriptor.write, threading.Event()

    def failing(descriptor: Descriptor, data: bytes) -> None:
        if full.is_set():
            real(descriptor, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        real(descriptor, data)

    monkeypatch.setattr(Descriptor, "write", failing)
    logger = JournalLogger()
    with warnings.catch_warnings(record=True) as caught, logger.start_logging():
        warnings.simplefilter("always")
        full.set()
        for step in range(5):
            logger.log(float(step), "x", step=step)
            assert not logger.flush(timeout=0.5)
        full.clear()
        assert logger.flush()
        where = logger.run_dir
    assert series(captured(where), "x") == {step: float(step) for step in range(5)}
    assert sum("cannot write the journal" in str(w.message) for w in caught) == 1


def test_empty_and_disabled_loggers_take_every_call_and_write_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANKLOG_DISABLED", "1")
    for logger in (EmptyLogger(), JournalLogger(), LoggersCollection([ConsoleLogger()])):
        with logger.start_logging():
            logger.log(1.0, "x", batch_idx=3)
            logger.log("t", "x", kind="text")
            logger.save_hyperparameters({"a": 1})
            assert logger.flush()
            assert logger.wait_delivered()
            with pytest.raises(RanklogError, match="logs nothing"):
                _ = logger.run_dir
    assert not list(Path().iterdir())


def test_should_log_follows_log_freq() -> None:
    logger = JournalLogger(log_freq=4)
    assert [logger.should_log(i) for i in (None, 0, 1, 4)] == [True, True, False, True]
    logger.log_freq = "epoch"
    assert not logger.should_log(0)
    with pytest.raises(ValueError, match="log_freq"):
        logger.log_freq = -3


def test_supported_kinds_are_all_there_are() -> None:
    assert set(JournalLogger.supported_kinds) == set(KINDS)


def test_serialize_returns_a_path_that_reads_back_without_pickle() -> None:
    logger = JournalLogger()
    assert Path(logger.serialize({"a": [1, 2]}, "x/y.json")).read_text() == '{"a":[1,2]}'
    assert np.array_equal(np.load(logger.serialize(np.arange(3), "x.npy"), allow_pickle=False), np.arange(3))
    with pytest.raises(InvalidItemError, match="no safe format"):
        logger.serialize(object(), "x")


def test_create_logger_takes_names_from_the_call_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(create_logger()) is MLFlowLogger
    monkeypatch.setenv("RANKLOG_BACKENDS", "console, tensorboard")
    both = create_logger(log_freq=5)
    assert isinstance(both, LoggersCollection)
    assert [type(m) for m in both.loggers] == [ConsoleLogger, TensorBoardLogger]
    assert [m.log_freq for m in both.loggers] == [5, 5]
    assert type(create_logger("none")) is EmptyLogger
    assert type(create_logger("of_a_third_party")) is BackendLogger
    with pytest.raises(InvalidArgumentError, match="names a backend twice"):
        create_logger("mlflow,mlflow")


def test_delivery_in_a_thread_reaches_a_backend_in_this_process() -> None:
    logger = MemoryLogger("logs")
    with logger.start_logging():
        logger.log(0.25, "loss", step=1)
        assert logger.wait_delivered(120)
        run = logger.ranklog_run_id
        assert series(list(MemoryBackend.runs[run].values()), "loss") == {1: 0.25}
    assert MemoryBackend.statuses[run] == "FINISHED"


@pytest.mark.parametrize("weight", [np.int64(3), np.float32(3.0), 3])
def test_weights_may_be_numbers_of_every_make(weight: object) -> None:
    import torch

    logger = JournalLogger(log_freq="batch")
    with logger.start_logging():
        logger.log(1.0, "x", step=0, reduce="mean", weight=weight)  # type: ignore[arg-type]
        logger.log(3.0, "x", step=0, reduce="mean", weight=torch.tensor(1))  # type: ignore[arg-type]
        logger.flush()
        assert series(captured(logger), "x") == {0: 1.5}


def test_a_member_cannot_close_its_collection_and_an_open_logger_cannot_join_one() -> None:
    member, other = ConsoleLogger(forward="later"), TensorBoardLogger(forward="later")
    collection = LoggersCollection([member, other])
    with collection.start_logging():
        with pytest.warns(RanklogWarning, match="is a member of an open collection"):
            member.destroy_logger_context()
        collection.log(1.0, "x", step=0)
        assert collection.flush()
        assert series(captured(collection), "x") == {0: 1.0}
    with member.start_logging(), pytest.raises(InvalidArgumentError, match="ConsoleLogger is already open"):
        collection.create_logger_context()


def test_a_disabled_logger_answers_as_the_training_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOG_DISABLED", "1")
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    logger = JournalLogger()
    with logger.start_logging():
        assert not logger.is_main
        assert logger.run_id == logger.ranklog_run_id == "disabled"


def test_log_metrics_takes_a_mapping_only() -> None:
    logger = JournalLogger()
    with logger.start_logging(), pytest.raises(InvalidItemError, match="takes a mapping"):
        logger.log_metrics([1.0])  # type: ignore[arg-type]


def test_each_member_tells_the_id_of_its_own_backend() -> None:
    from ranklog.journal.cursor import Cursor, save_cursor

    mlflow, wandb, board = MLFlowLogger(), WandBLogger(offline_mode=True), TensorBoardLogger()
    collection = LoggersCollection([wandb, mlflow, board])
    collection._config = msgspec.structs.replace(collection._config, forward="later")
    with collection.start_logging():
        session = collection._session
        assert session is not None
        session.config = msgspec.structs.replace(session.config, forward="process")
        for index, name in enumerate(("wandb", "mlflow")):
            save_cursor(collection.run_dir, index, Cursor(backend=name, known={"run_id": f"of-{name}"}))
        assert (mlflow.run_id, wandb.run_id, collection.run_id) == ("of-mlflow", "of-wandb", "of-wandb")
        assert board.run_id == collection.ranklog_run_id


def test_the_experiment_given_to_create_logger_is_that_of_every_backend():
    logger = create_logger("mlflow,wandb,tensorboard", experiment="digits")
    mlflow, wandb, _ = logger._config.specs
    assert (mlflow.options["experiment_name"], wandb.options["project_name"]) == ("digits", "digits")
    assert logger._config.experiment == "digits"
    own = create_logger("mlflow", experiment="digits", options={"mlflow": {"experiment_name": "mine"}})
    assert own._config.specs[0].options["experiment_name"] == "mine"


def test_a_block_inside_another_one_of_the_same_logger_leaves_the_end_to_that() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        with pytest.warns(RanklogWarning), logger.start_logging():
            logger.log(1.0, "x", step=0)
        logger.log(2.0, "x", step=1)
        run = logger.run_dir
    assert series(captured(run), "x") == {0: 1.0, 1: 2.0}
    assert [record.status for record in captured(run) if isinstance(record, End)] == ["FINISHED"]
