"""Wrong arguments of constructors are ranklog's errors, which suggest the right name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranklog import loggers
from ranklog.loggers import (
    BackendLogger,
    ConsoleLogger,
    EmptyLogger,
    JournalLogger,
    LoggersCollection,
    MLFlowLogger,
    OpenTelemetryLogger,
    TensorBoardLogger,
    WandBLogger,
    create_logger,
)
from ranklog.loggers.arguments import EveryArgument, RunArguments
from ranklog.model.argument_names import explicit_arguments
from ranklog.model.errors import InvalidArgumentError, RanklogWarning
from ranklog.model.kinds import KINDS
from ranklog.model.options import KindOptions
from ranklog.testing import MemoryLogger

CLASSES = [
    each for each in vars(loggers).values() if isinstance(each, type) and issubclass(each, loggers.Logger)
] + [MemoryLogger]  # fmt: skip
CONSTRUCTORS = [each for each in CLASSES if each is not loggers.Logger]
NEEDED: dict[type, dict[str, Any]] = {
    BackendLogger: {"backend": "console"},
    LoggersCollection: {"loggers": []},
    MemoryLogger: {"savedir": "logs"},
}


def names(constructor: type) -> list[str]:
    return explicit_arguments(constructor.__init__)  # type: ignore[misc]


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("make", "given", "meant"),
    [
        (WandBLogger, "project", "project_name"),
        (WandBLogger, "offline", "offline_mode"),
        (WandBLogger, "save_dir", "savedir"),
        (MLFlowLogger, "experimentname", "experiment_name"),
        (MLFlowLogger, "uri", "tracking_uri"),
        (TensorBoardLogger, "Framework", "framework"),
        (OpenTelemetryLogger, "end_point", "endpoint"),
        (ConsoleLogger, "logfreq", "log_freq"),
        (JournalLogger, "runid", "run_id"),
        (EmptyLogger, "project", "project_name"),
        (create_logger, "option", "options"),
        (create_logger, "backend", "backends"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_unknown_argument_is_an_error_that_names_the_one_that_was_meant(make: Any, given: str, meant: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"has no argument {given}= \(did you mean {meant}=\?\)"):
        make(**{given: "x"})


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=lambda each: each.__name__)
def test_every_constructor_lists_what_it_takes(constructor: type) -> None:
    with pytest.raises(InvalidArgumentError) as error:
        constructor(**NEEDED.get(constructor, {}), zzz=1, yyy=2)
    text = str(error.value)
    assert text.startswith(f"{constructor.__name__} has no argument zzz=, yyy=; it takes ")
    assert all(name in text for name in names(constructor))


@pytest.mark.parametrize("constructor", CONSTRUCTORS, ids=lambda each: each.__name__)
def test_no_constructor_takes_any_keyword_without_a_type(constructor: type) -> None:
    found = [each for each in inspect.signature(constructor).parameters.values() if each.kind is each.VAR_KEYWORD]
    assert [each.annotation for each in found] in ([], ["Unpack[RunArguments]"], ["Unpack[EveryArgument]"])


def test_an_empty_logger_takes_the_arguments_of_every_logger() -> None:
    of_all = {name for each in CONSTRUCTORS if each not in NEEDED for name in names(each)}
    shared = {"savedir", "log_freq", "log_on_workers"}
    assert set(EveryArgument.__annotations__) == of_all - shared | set(RunArguments.__annotations__)


def test_an_argument_of_one_backend_is_sent_to_its_options() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r'project_name= \(give options=\{"trackio": \{"project_name": …\}\}\)'
    ):
        create_logger("trackio,csv", project_name="x")  # type: ignore[call-arg]


def test_wrong_options_of_create_logger_are_errors_that_name_what_was_meant() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"WandBLogger has no argument project= \(did you mean project_name=\?"
    ):
        create_logger("wandb,csv", options={"wandb": {"project": "x"}})
    with pytest.raises(
        InvalidArgumentError, match="'mlfow', which is not among the backends mlflow: did you mean 'mlflow'"
    ):
        create_logger("mlflow", options={"mlfow": {}})
    with pytest.raises(InvalidArgumentError, match="give arguments by backend"):
        create_logger("mlflow", options={"mlflow": "exp"})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("uri", "cure"),
    [
        ("htp://x", "http://<server>"),
        ("localhost:5000", "did you mean 'http://localhost:5000'"),
        ("http:///path", "http://<server>"),
        ("https:mlflow.example.org", "http://<server>"),
        ("sqlite:mlflow.db", "sqlite:///<path>"),
        ("htp://ada:secret@x", "http://<server>"),
    ],
)
def test_an_address_that_mlflow_has_no_store_for_is_an_error_with_the_allowed_ones(uri: str, cure: str) -> None:
    with pytest.raises(InvalidArgumentError, match=cure) as error:
        MLFlowLogger(tracking_uri=uri)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:5000", "https://ada:pw@mlflow.example.org/x", "sqlite:///mlflow.db", "sqlite+pysqlite:////d/m.db",
     "postgresql+psycopg2://ada@db/mlflow", "databricks", "databricks://profile", "databricks-uc", "mlruns",
     "/data/a:b", "file:///data/mlruns", "", None],
)  # fmt: skip
def test_an_address_that_mlflow_can_store_at_is_taken(uri: str | None) -> None:
    assert MLFlowLogger(tracking_uri=uri) is not None


@pytest.mark.parametrize("constructor", [MLFlowLogger, WandBLogger], ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", [3, b"x", "two\nlines", "nul\0", "\ud800", "x" * 251], ids=ascii)
def test_a_run_name_that_no_table_can_show_is_an_error(constructor: Any, name: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"run_name=.*give 1 to 250 printable characters"):
        constructor(run_name=name)
    assert constructor(run_name="grüße, night 3") is not None


def test_a_subclass_of_a_users_own_may_have_arguments_of_its_own() -> None:
    class Mine(WandBLogger):
        def __init__(self, colour: str, **more: Any) -> None:
            super().__init__(**more)
            self.colour = colour

    assert Mine("red", project_name="x").colour == "red"
    with pytest.raises(InvalidArgumentError, match="did you mean project_name"):
        Mine("red", project="x")


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3),
    st.lists(st.text(max_size=3), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=1),
    st.sampled_from([object(), int, Path("x"), "a\0b", "\ud800", "http://[", "https://ada:pw@host", ("a,b",), b"\xff"]),
)  # fmt: skip


@pytest.mark.parametrize("constructor", [*CONSTRUCTORS, create_logger], ids=lambda each: each.__name__)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_value_of_any_type_is_taken_or_is_an_invalid_argument(constructor: Any, data: st.DataObject) -> None:
    function = constructor.__init__ if isinstance(constructor, type) else constructor
    takes = {*explicit_arguments(function), *RunArguments.__annotations__} - {"secrets"}
    if constructor is LoggersCollection:
        takes = {"loggers"}
    chosen = data.draw(st.dictionaries(st.sampled_from(sorted(takes)), ODD, min_size=1, max_size=2))
    try:
        constructor(**{**NEEDED.get(constructor, {}), **chosen})
    except InvalidArgumentError:
        pass


def test_wrong_arguments_of_a_context_are_errors_that_name_what_was_meant() -> None:
    logger = EmptyLogger()
    with pytest.raises(InvalidArgumentError, match=r"logger_context has no argument runname= \(did you mean run_n"):
        logger.create_logger_context(runname="x")  # type: ignore[call-arg]
    with pytest.raises(InvalidArgumentError, match=r"logging has no argument parent= \(did you mean parent_run_id"):
        logger.start_logging(parent="x")  # type: ignore[call-arg]
    with pytest.raises(InvalidArgumentError, match="parent_run_id=3 is not allowed: give a str"):
        logger.create_logger_context(parent_run_id=3)  # type: ignore[arg-type]
    assert not logger.is_initialized


def test_an_option_that_the_kind_does_not_have_is_a_warning_that_names_what_was_meant() -> None:
    logger = JournalLogger(forward="later")
    with (
        logger.start_logging(),
        pytest.warns(RanklogWarning, match=r"captoin= of kind='image'.*mean caption=\?"),
    ):
        logger.log(np.zeros((2, 2)), "x", kind="image", captoin="black")  # type: ignore[call-arg]


def test_the_types_of_options_are_those_of_the_table_of_kinds() -> None:
    in_table = {option for kind in KINDS.values() for option in kind.all_options}
    assert set(KindOptions.__annotations__) == in_table
