"""Odd but possible names, steps and other arguments: they are taken exactly, or the call refuses them."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_values import (
    ANY_TEXT,
    HALF_AN_EMOJI,
    KEYS,
    LEAVES,
    SLOW,
    Color,
    Mode,
    Point,
    nested,
    recursive_dict,
    recursive_list,
)

from ranklog import JournalLogger
from ranklog.items.file_names import file_name
from ranklog.model.errors import InvalidArgumentError, InvalidItemError, RanklogError
from ranklog.model.record import Item, Metrics
from ranklog.testing import captured, series


@pytest.mark.parametrize(
    ("step", "expected"),
    [(5.0, 5), (np.float64(5), 5), (np.int64(5), 5), (np.array(5), 5), (np.uint8(5), 5)],
    ids=repr,
)
def test_a_whole_number_of_any_type_is_a_step(step: Any, expected: int) -> None:
    import torch

    logger = JournalLogger()
    with logger.start_logging():
        logger.log(0.5, "a", step=step)
        logger.log("t", "text", kind="text", step=step)
        logger.log(0.5, "b", step=torch.tensor(5))  # type: ignore[arg-type]
        logger.log(0.5, "c", step=torch.tensor(5.0))  # type: ignore[arg-type]
        assert logger.flush()
        records = captured(logger)
    assert all(series(records, name) == {expected: 0.5} for name in "abc")
    assert [record.step for record in records if isinstance(record, Item)] == [expected]
    assert all(type(record.step) is int for record in records if isinstance(record, Metrics))


@pytest.mark.parametrize(
    "step",
    [5.5, math.nan, math.inf, 1e300, "5", b"5", 10**5000, True, [5], np.arange(2), 1j, object()],
    ids=lambda v: type(v).__name__,
)
def test_any_other_step_is_refused(step: Any) -> None:
    logger = JournalLogger()
    with logger.start_logging():
        for call in (
            lambda: logger.log(0.5, "a", step=step),
            lambda: logger.log_metrics({"a": 0.5}, step=step),
            lambda: logger.log("t", "a", kind="text", step=step),
        ):
            with pytest.raises(InvalidArgumentError, match=r"step=.*is not allowed"):
                call()


def test_other_arguments_of_odd_types_are_refused_or_taken_exactly() -> None:
    import torch

    logger = JournalLogger()
    with logger.start_logging():
        for odd in (10**400, np.arange(2), torch.arange(2), "x", math.nan, -1):
            with pytest.raises(InvalidArgumentError, match="weight="):
                logger.log(0.5, "a", weight=odd, reduce="mean")  # type: ignore[arg-type]
        for odd in (np.arange(2), "low", 3):
            with pytest.raises(InvalidArgumentError, match="goal="):
                logger.log(0.5, "a", goal=odd)
        for name in ("\ud83d", "a\nb", "", 3):
            with pytest.raises(InvalidArgumentError, match="identifier="):
                logger.log(0.5, name, goal="min")  # type: ignore[arg-type]
        logger.log("t", np.str_("note"), kind=np.str_("text"), context=np.str_("training"))
        logger.log(0.5, "a", step=1, context=10**5000)
        with pytest.raises(InvalidArgumentError, match="context="):
            logger.log(0.5, "a", step=1, context=object())
        logger.log(np.float64(0.5), np.str_("a"), step=1, goal=np.str_("min"), context=np.str_("training"))
        logger.log_metrics({np.str_("a"): 0.25}, step=2)
        logger.log(0.125, Mode.FAST, step=3, weight=np.float32(2), reduce=np.str_("mean"))
        assert logger.flush()
        records = captured(logger)
    assert series(records, "a") == {1: 0.5, 2: 0.25} and series(records, "fast") == {3: 0.125}
    assert [(record.kind, record.name) for record in records if isinstance(record, Item)] == [("text", "note")]


def test_names_of_metrics_in_a_mapping_are_checked_in_the_call() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        for names in ({HALF_AN_EMOJI: 1.0}, {"a\nb": 1.0}, {"x" * 600: 1.0}):
            with pytest.raises(InvalidArgumentError, match="printable"):
                logger.log(names, "loss")
            with pytest.raises(InvalidArgumentError, match="printable"):
                logger.log_metrics(names)
        with pytest.raises(InvalidItemError, match="1 and '1' both become"):
            logger.log({1: 1.0, "1": 2.0}, "loss")
        with pytest.raises(InvalidArgumentError, match="identifier"):
            logger.log([[1.0]], [["nested"]])
        logger.log({1: 1.0, Mode.FAST: 2.0, np.str_("s"): 3.0}, "loss", step=0)
        assert logger.flush()
        records = captured(logger)
    assert [record.values for record in records if isinstance(record, Metrics)] == [
        {"loss/1": 1.0, "loss/fast": 2.0, "loss/s": 3.0}
    ]


@pytest.mark.parametrize("length", [150, 200, 201, 246, 255, 512])
@pytest.mark.parametrize("char", ["x", "ü", "漢", "😀"])
def test_a_name_of_any_length_is_a_file_that_can_be_written_beside_a_temporary_one(
    length: int, char: str, tmp_path: Path
) -> None:
    path = file_name(char * (length - 4) + "/" + char * (length - 4), ".json")
    assert all(len(part.encode()) <= 200 for part in path.split("/")) and path.endswith(".json")
    assert file_name(char * length + "1", ".json") != file_name(char * length + "2", ".json")
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text("")
    logger = JournalLogger(savedir=tmp_path)
    for each in (char * length, char * 200 + "1/" + char * 200):
        assert Path(logger.serialize({"a": 1}, each)).read_text() == '{"a":1}'
    with pytest.raises(RanklogError, match="cannot write"):
        logger.serialize(1, char * 200 + "1/" + char * 200 + "/below")


@pytest.mark.parametrize(
    "obj", [recursive_list(), recursive_dict(), nested(3000), {"a": print}], ids=["list", "dict", "deep", "function"]
)
def test_serialize_refuses_what_json_cannot_hold(obj: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidItemError, match=r"serialize\('x'\): no safe format"):
        JournalLogger(savedir=tmp_path).serialize(obj, "x")


def test_serialize_writes_odd_values_by_the_rule_of_dicts(tmp_path: Path) -> None:
    path = JournalLogger(savedir=tmp_path).serialize(
        {"a": [HALF_AN_EMOJI, 2**70, math.nan], Color.RED: Point(1, 2)}, "x"
    )
    assert json.loads(Path(path).read_text()) == {
        "a": ["ok \\ud83d", str(2**70), None],
        "Color.RED": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize("kind", ["artifact", "html", "dataset", "image", "audio", "video"])
@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "/proc/self/mem", "/root/../dev/null/x"], ids=ascii)
def test_a_path_that_cannot_be_read_is_refused_with_our_error(kind: str, path: str) -> None:
    logger = JournalLogger()
    with logger.start_logging(), pytest.raises(RanklogError):
        logger.log(Path(path), "x", kind=kind)


def test_options_of_loggers_are_exact_or_refused() -> None:
    from ranklog.loggers import BackendLogger

    logger = BackendLogger(
        "memory", {"name": np.str_("x"), "size": np.int64(3)}, experiment=np.str_("e"), forward="later"
    )
    spec = logger._config.specs[0]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spec.options)) == {"name": "x", "size": 3}
    assert type(logger._config.experiment) is str
    with pytest.raises(InvalidArgumentError, match="name="):
        BackendLogger("memory", {"name": object()}, forward="later")  # type: ignore[dict-item]


def test_any_name_and_step_is_refused_by_an_error_of_ours_or_journaled() -> None:
    logger = JournalLogger()

    @SLOW
    @given(ANY_TEXT | KEYS, st.none() | st.integers() | st.floats() | LEAVES)
    def call(name: Any, step: Any) -> None:
        for each in (
            lambda: logger.log(0.5, name, step=step),
            lambda: logger.log({name: 0.5}, "of", step=step),
            lambda: logger.log_metrics({name: 0.5}, step=step),
            lambda: logger.log("t", name, kind="text", step=step),
        ):
            with contextlib.suppress(RanklogError):
                each()

    with logger.start_logging():
        call()
        assert logger.flush()
        assert captured(logger)
