"""Odd but possible content of parameters and dicts: it reads back whole, or the call refuses it."""

import argparse
import dataclasses
import datetime
import decimal
import functools
import json
import math
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_values import (
    HALF_AN_EMOJI,
    KEYS,
    SLOW,
    VALUES,
    Color,
    Count,
    Level,
    Mode,
    Number,
    Word,
    body,
    cell,
    nested,
    recursive_dict,
    recursive_list,
)

from ranklog import JournalLogger
from ranklog.journal.frame import Frame, decode_frame, encode_frame
from ranklog.logger.hyperparameters import MAX_CHARS, flatten
from ranklog.model.content import Table
from ranklog.model.errors import InvalidItemError, RanklogError, RanklogWarning
from ranklog.model.record import Event, Params
from ranklog.testing import captured
from ranklog.values.plain import to_plain


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1
    schedule: Callable[..., Any] = math.cos


@dataclasses.dataclass
class Config:
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    depth: int = 3
    never_set: int = dataclasses.field(init=False)


def test_a_nested_dataclass_is_its_fields_also_beside_a_function() -> None:
    assert flatten({"config": Config()}) == {
        "config.optimizer.lr": 0.1,
        "config.optimizer.schedule": "math.cos",
        "config.depth": 3,
    }


def test_every_config_object_is_its_fields() -> None:
    import attrs
    import pydantic
    from omegaconf import OmegaConf

    @attrs.define
    class Attrs:
        lr: float = 0.1
        layers: list[int] = attrs.field(factory=lambda: [1, 2])

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        lr: float = 0.1
        layers: list[int] = [1, 2]

    class Struct(msgspec.Struct):
        lr: float = 0.1
        layers: tuple[int, int] = (1, 2)

    same = {"lr": 0.1, "layers": [1, 2]}
    for config in (
        Attrs(),
        Model(),
        Struct(),
        argparse.Namespace(**same),
        types.SimpleNamespace(**same),
        OmegaConf.create(same),
        NamedTuple("Pair", [("lr", float), ("layers", list[int])])(0.1, [1, 2]),
    ):
        assert flatten(config) == {"lr": 0.1, "layers": "[1, 2]"}, type(config)
        assert flatten({"of": config}) == {"of.lr": 0.1, "of.layers": "[1, 2]"}, type(config)
        assert body(config, "dict") == same, type(config)
    assert flatten(Model(more="x"))["more"] == "x"  # type: ignore[call-arg]


def test_an_omegaconf_config_keeps_what_is_missing_or_cannot_be_resolved_as_it_was_written() -> None:
    from omegaconf import OmegaConf

    config = OmegaConf.create({"a": "???", "b": "${a}", "c": "${nowhere}", "d": {"e": "${f}"}, "f": 2, "g": ["???", 1]})
    expected = {"a": "???", "b": "${a}", "c": "${nowhere}", "d.e": 2, "f": 2, "g": '["???", 1]'}
    assert flatten(config) == expected
    assert body(config, "dict")["g"] == ["???", 1]


def test_a_partial_keeps_its_arguments() -> None:
    assert flatten({"make": functools.partial(int, base=2)}) == {"make": "functools.partial(builtins.int, base=2)"}
    nested_partial = functools.partial(functools.partial, int, "a, b", [1, 2])
    assert flatten({"p": nested_partial})["p"] == "functools.partial(functools.partial, builtins.int, 'a, b', [1, 2])"


@pytest.mark.parametrize(
    ("params", "both"),
    [
        ({"a.b": 1, "a": {"b": 2}}, "'a.b' and 'a' → 'b'"),
        ({1: "x", "1": "y"}, "1 and '1'"),
        ({"of": [{1: "x", "1": "y"}]}, "1 and '1'"),
    ],
)
def test_keys_that_become_one_name_are_refused_and_both_are_named(params: Any, both: str) -> None:
    with pytest.raises(InvalidItemError, match=both):
        flatten(params)
    with pytest.raises(InvalidItemError, match="both become"):
        body({"of": [{1: "x", "1": "y"}]}, "dict")


def test_lists_that_differ_have_texts_that_differ() -> None:
    flat = flatten({"one": ["a, b"], "two": ["a", "b"], "betas": (0.9, 0.999), "set": {"b", "a"}, "none": [None, True]})
    assert flat["one"] == '["a, b"]' and flat["two"] == '["a", "b"]'
    assert flat["betas"] == "[0.9, 0.999]" and flat["set"] == '["a", "b"]' and flat["none"] == "[null, true]"


def test_an_array_is_kept_whole_up_to_a_size_and_then_has_a_digest() -> None:
    told: list[str] = []
    assert json.loads(str(flatten({"ids": np.arange(5000)}, told.append)["ids"])) == list(range(5000))
    assert not told
    arrays = (np.arange(10**6), np.arange(10**6), np.arange(10**6) + 1)
    digests = {flatten({"ids": array, "more": array}, told.append)["ids"] for array in arrays}
    assert len(digests) == 2 and all("1000000" in str(text) for text in digests)
    assert len(told) == 3 and "'ids' and 1 more is longer than" in told[0]


def test_a_text_that_is_too_long_for_a_parameter_keeps_its_beginning_and_a_digest() -> None:
    told: list[str] = []
    text = str(flatten({"prompt": "a" * (MAX_CHARS + 1)}, told.append)["prompt"])
    assert text.startswith("aaa") and "sha256" in text and len(text) < 300 and "'prompt'" in told[0]


def test_what_is_cut_of_parameters_is_one_warning_also_in_the_run() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        with pytest.warns(RanklogWarning, match="'prompt' is longer than") as caught:
            for _ in range(3):
                logger.save_hyperparameters({"prompt": "a" * (MAX_CHARS + 1)})
        run = logger.run_dir
    assert len(caught) == 1
    assert any(isinstance(record, Event) and record.code == "changed_param" for record in captured(run))


def test_more_parameters_than_a_record_of_the_journal_holds_are_refused() -> None:
    with pytest.raises(InvalidItemError, match="kind='dict'"):
        flatten({f"p{i}": "a" * MAX_CHARS for i in range(129)})


def test_objects_are_texts_without_memory_addresses() -> None:
    class Plain:
        pass

    class Shows:
        def __repr__(self) -> str:
            return f"Shows(of {object()!r})"

    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError

    flat = flatten({"plain": Plain(), "shows": Shows(), "broken": Broken(), "of": [Plain()], "type": Plain})
    named = flatten({"array": np.ndarray, "module": json, "method": dict.fromkeys, "dtype": np.dtype("f4")})
    assert (named["array"], named["method"], named["dtype"]) == ("numpy.ndarray", "builtins.dict.fromkeys", "float32")
    assert "json" in str(named["module"])
    assert flat["shows"] == "Shows(of <object object>)"
    for name in ("plain", "broken", "of", "type"):
        assert "test_odd_plain" in str(flat[name]) and "0x" not in str(flat[name])


@pytest.mark.parametrize(
    "params", [recursive_dict(), {"a": recursive_list()}, {"a": nested(2000)}], ids=["dict", "list", "deep"]
)
def test_parameters_that_hold_themselves_are_refused(params: Any) -> None:
    with pytest.raises(InvalidItemError, match=r"contains itself|nested deeper"):
        flatten(params)
    with pytest.raises(InvalidItemError, match=r"contains itself|nested deeper"):
        body(params, "dict")
    with pytest.raises(InvalidItemError, match=r"contains itself|nested deeper"):
        cell(params)


def test_a_parameter_that_cannot_be_read_is_named() -> None:
    import torch

    with pytest.raises(InvalidItemError, match=r"parameter 'a\.b'"):
        flatten({"a": {"b": torch.empty(2, device="meta")}})


def test_a_parameter_of_kind_param_may_be_a_config_object() -> None:
    logger = JournalLogger()
    with logger.start_logging():
        logger.log(Config(), "config", kind="param")
        logger.log(Color.RED, "color", kind="param")
        logger.save_hyperparameters(argparse.Namespace(seed=np.int64(1)))
        with pytest.raises(InvalidItemError, match="mapping or an object with named fields"):
            logger.save_hyperparameters([1])
        assert logger.flush()
        values = [record.values for record in captured(logger) if isinstance(record, Params)]
    assert values[0]["optimizer.lr"] == 0.1
    assert values[1:] == [{"color": "Color.RED"}, {"seed": 1}]


def exact_values() -> list[tuple[Any, Any]]:
    import pandas as pd
    import torch

    return [
        (np.float64(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble("1e400"), "1e+400"),
        (np.longdouble("0.5"), 0.5),
        (np.int8(3), 3),
        (np.uint64(2**64 - 1), str(2**64 - 1)),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.bytes_(b"raw"), "b'raw'"),
        (np.datetime64("2024-01-02T03:04:05.000000006"), "2024-01-02T03:04:05.000000006"),
        (np.datetime64("NaT"), None),
        (np.timedelta64(5, "s"), "5 seconds"),
        (np.complex128(1 + 2j), "1+2j"),
        (np.ma.masked, None),
        (np.array(2.5), 2.5),
        (torch.tensor(3), 3),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (torch.tensor(1 + 2j), "1+2j"),
        (Mode.FAST, "fast"),
        (Level.HIGH, 3),
        (Color.RED, "Color.RED"),
        (Word("word"), "word"),
        (Number(1.5), 1.5),
        (Count(7), 7),
        (1 + 2j, "1+2j"),
        (-2j, "-0-2j"),
        (2**63, str(2**63)),
        (-(2**63), -(2**63)),
        (10**5000, hex(10**5000)),
        (decimal.Decimal("0.10"), "0.10"),
        (b"\xff", "b'\\xff'"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.timedelta(days=1, seconds=2), "1 day, 0:00:02"),
        (Path("a/b"), "a/b"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (HALF_AN_EMOJI, "ok \\ud83d"),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Interval(0, 1), "(0, 1]"),
        (pd.Period("2024-01"), "2024-01"),
        (pd.Timestamp("2024-01-02 03:04", tz="Europe/Berlin"), "2024-01-02T03:04:00+01:00"),
        (pd.Timedelta(1, "ns"), "0 days 00:00:00.000000001"),
    ]


def test_a_value_is_the_same_exact_builtin_as_parameter_cell_and_in_a_dict() -> None:
    for given_value, expected in exact_values():
        shown = f"{type(given_value)} {str(expected)[:60]}"
        (param,) = flatten({"p": given_value}).values()
        for found in (param, cell(given_value), body({"v": given_value}, "dict")["v"]):
            assert type(found) is type(expected) and found == expected, shown


def test_numbers_that_json_lacks_are_null_or_words_in_tables_and_kept_in_parameters() -> None:
    import pandas as pd

    assert [cell(v) for v in (math.nan, math.inf, -math.inf, np.float32("nan"))] == [
        None,
        "Infinity",
        "-Infinity",
        None,
    ]
    flat = flatten({"nan": np.float64("nan"), "inf": np.float32("-inf"), "na": pd.NA})
    assert math.isnan(flat["nan"]) and flat["inf"] == -math.inf and flat["na"] is None  # type: ignore[arg-type]


def test_arrays_keep_their_values_in_dicts_and_cells() -> None:
    structured = np.array([(1, b"a"), (2, b"b")], dtype=[("n", "i4"), ("s", "S1")])
    values = {
        "complex": np.array([1j]),
        "times": np.array(["2024-01-02", "NaT"], dtype="M8[D]"),
        "waits": np.array([5], dtype="m8[ms]"),
        "long": np.array([2**63 - 1, 2**63], dtype=np.uint64),
        "objects": np.array([1, None, "x"], dtype=object),
        "rows": structured,
        "masked": np.ma.array([1, 2], mask=[False, True]),
        "empty": np.zeros((0, 3)),
        "none": np.zeros((2, 0)),
    }
    assert body(values, "dict") == {
        "complex": ["1j"],
        "times": ["2024-01-02", None],
        "waits": ["5 milliseconds"],
        "long": [2**63 - 1, str(2**63)],
        "objects": [1, None, "x"],
        "rows": [{"n": 1, "s": "b'a'"}, {"n": 2, "s": "b'b'"}],
        "masked": [1, None],
        "empty": [],
        "none": [[], []],
    }


def test_keys_of_every_type_are_names() -> None:
    keys: dict[Any, int] = {
        np.int64(2): 1,
        ("loss", "mean"): 2,
        Color.RED: 3,
        Mode.FAST: 4,
        None: 5,
        True: 6,
        0.5: 7,
        HALF_AN_EMOJI: 8,
        Word("word"): 9,
    }
    names = ["2", "loss/mean", "Color.RED", "fast", "null", "true", "0.5", "ok \\ud83d", "word"]
    assert list(body(keys, "dict")) == list(flatten(keys)) == names
    assert body({key: [1] for key in keys}, "table")["columns"] == names
    with pytest.raises(InvalidItemError, match="cannot be a key"):
        body({frozenset(): 1}, "dict")


def test_what_has_no_form_in_json_is_refused_with_a_cure() -> None:
    for value in (print, object(), (x for x in "ab"), int):
        with pytest.raises(InvalidItemError, match=r"dict 'x': .*no JSON form: give"):
            body({"a": [value]}, "dict")
        with pytest.raises(InvalidItemError, match=r"table 'x': .*no JSON form: give"):
            cell(value)


@SLOW
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_parameters_are_refused_by_an_error_of_ours_or_read_back_from_the_journal(params: Any) -> None:
    try:
        values = flatten(params)
    except RanklogError:
        return
    frame = decode_frame(encode_frame([Params(1, -1, values)], 0))
    assert isinstance(frame, Frame)
    (record,) = frame.records
    assert isinstance(record, Params) and repr(record.values) == repr(values)
    assert repr(flatten(params)) == repr(values)
    for key, value in params.items():
        if type(key) is str and type(value) in (int, bool, float, type(None)) and abs(value or 0) < 2**63:
            assert repr(values[key]) == repr(value)


@SLOW
@given(VALUES)
def test_any_dict_or_table_is_refused_by_an_error_of_ours_or_read_back_by_a_strict_reader(value: Any) -> None:
    for item, kind in (({"v": value}, "dict"), (([value], [[value]]), "table"), (value, "table"), (value, "dict")):
        try:
            found = body(item, kind)
        except RanklogError:
            continue
        if kind == "table":
            assert msgspec.convert(found, Table).columns is not None
        json.dumps(found, ensure_ascii=False).encode()
        if kind == "dict" and item is not value:
            assert repr(found["v"]) == repr(json.loads(json.dumps(to_plain(value)), parse_constant=_constant))


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name
