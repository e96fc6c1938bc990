"""Odd but possible tables and datasets: they read back whole, or the call refuses them."""

import decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from odd_values import (
    Point,
    body,
    recursive_list,
)

from ranklog import JournalLogger
from ranklog.items.encode import encode
from ranklog.model.content import Dataset
from ranklog.model.errors import InvalidItemError, RanklogWarning


def test_a_data_frame_keeps_an_index_that_says_something() -> None:
    import pandas as pd

    frame = pd.DataFrame({"x": [1, 2]})
    assert body(frame, "table") == {"columns": ["x"], "data": [[1], [2]]}
    assert body(frame.set_index(pd.Index(["a", "b"])), "table") == {
        "columns": ["index", "x"],
        "data": [["a", 1], ["b", 2]],
    }
    assert body(frame.set_index(pd.Index(["a", "b"], name="epoch")), "table")["columns"] == ["epoch", "x"]
    assert body(frame[frame.x > 1], "table") == {"columns": ["index", "x"], "data": [[1, 2]]}
    several = pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 0), ("b", 1)], names=["run", None]))
    assert body(several, "table") == {"columns": ["run", "level_1", "x"], "data": [["a", 0, 1], ["b", 1, 2]]}
    named_alike = frame.set_index(pd.Index([7, 8], name="x"))
    assert body(named_alike, "table") == {"columns": ["x.1", "x"], "data": [[7, 1], [8, 2]]}
    assert body(pd.Series([3, 1], index=["a", "b"], name="n"), "table") == {
        "columns": ["index", "n"],
        "data": [["a", 3], ["b", 1]],
    }


def test_a_data_frame_keeps_columns_of_several_levels_and_of_one_name() -> None:
    import pandas as pd

    levels = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("loss", "mean"), ("loss", "")]))
    assert body(levels, "table")["columns"] == ["loss/mean", "loss"]
    frame = pd.DataFrame([[1, 2, 3]], columns=["x", "x", "x.1"])
    assert body(frame, "table") == {"columns": ["x", "x.2", "x.1"], "data": [[1, 2, 3]]}
    assert "'x.2' was 'x'" in encode(frame, "t", "table", {}).changed
    assert not encode(levels, "t", "table", {}).changed
    logger = JournalLogger()
    with (
        logger.start_logging(),
        pytest.warns(RanklogWarning, match=r"table 't' is not stored as it was given: .*'x\.2'"),
    ):
        logger.log(frame, "t", kind="table")


def test_cells_of_pandas_keep_their_values() -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "int": pd.array([2**53 + 1, None], dtype="Int64"),
            "kind": pd.Categorical(["a", None]),
            "when": pd.to_datetime(["2024-01-02", None]),
            "range": pd.cut([1, 5], [0, 2, 6]),
        }
    )
    assert body(frame, "table")["data"] == [
        [2**53 + 1, "a", "2024-01-02T00:00:00", "(0, 2]"],
        [None, None, None, "(2, 6]"],
    ]


def test_arrow_tables_and_record_batches_are_tables_and_datasets() -> None:
    import pyarrow as pa

    values = {"n": [2**53 + 1, None], "s": ["a", None], "d": [decimal.Decimal("0.10"), None]}
    for table in (pa.table(values), pa.RecordBatch.from_pydict(values)):
        assert body(table, "table") == {"columns": ["n", "s", "d"], "data": [[2**53 + 1, "a", "0.10"], [None] * 3]}
        facts = msgspec.convert(body(table, "dataset"), Dataset)
        assert facts.rows == 2 and facts.columns == {"n": "int64", "s": "string", "d": "decimal128(2, 2)"}
    changed = pa.table({**values, "s": ["a", "b"]})
    assert body(changed, "dataset")["digest"] != body(pa.table(values), "dataset")["digest"]


def test_any_frame_that_turns_into_one_of_pandas_is_a_table() -> None:
    import pandas as pd

    class Frame:
        def to_pandas(self) -> pd.DataFrame:
            return pd.DataFrame({"x": [1]})

    assert body(Frame(), "table") == {"columns": ["x"], "data": [[1]]}
    assert body(Frame(), "dataset")["columns"] == {"x": "int64"}


@pytest.mark.parametrize(
    "table",
    [
        {"a": 1},
        {"a": "text"},
        {"a": {0: 1}},
        {"a": {1, 2}},
        {"a": [1], "b": [1, 2]},
        {"a": np.array(1)},
        (["a"], 3),
        (["a"], [3]),
        (["a"], ["x"]),
        (["a"], [[1, 2]]),
        (3, [[1]]),
        ("ab", [[1, 2]]),
        {1: [1], "1": [2]},
        [{1: 1, "1": 2}],
        [],
        [1],
        [[1, 2]],
        3,
        None,
        recursive_list(),
        (recursive_list(), recursive_list()),
        {"a": recursive_list()},
        {(object(),): [1]},
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_is_no_table_is_refused_in_the_call(table: Any) -> None:
    with pytest.raises(InvalidItemError, match="table 'x'"):
        encode(table, "x", "table", {})


def test_rows_may_be_any_values_with_named_fields() -> None:
    expected = {"columns": ["x", "y"], "data": [[1, 2], [3, 4]]}
    assert body([Point(1, 2), Point(3, 4)], "table") == expected
    assert body((Point(1, 2), Point(3, 4)), "table") == expected
    assert body([{"x": 1}, {"y": 2}], "table")["data"] == [[1, None], [None, 2]]


def test_a_dataset_of_mlflow_keeps_what_it_says() -> None:
    import mlflow.data
    import pandas as pd

    data = mlflow.data.from_pandas(
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), source="https://u:p@host/d.csv", name="digits"
    )
    facts = msgspec.convert(body(data, "dataset"), Dataset)
    assert (facts.name, facts.digest, facts.digest_of) == ("digits", data.digest, "given")
    assert (facts.source, facts.source_type, facts.rows) == ("https://***@host/d.csv", "http", 2)
    assert facts.columns == {"a": "long", "b": "string"}
    plain = mlflow.data.from_numpy(np.zeros((3, 2)), source="s3://bucket/x")
    assert (body(plain, "dataset")["source"], body(plain, "dataset")["rows"]) == ("s3://bucket/x", 3)


@pytest.mark.parametrize(
    "data", [np.array(5), np.float64(1.0), 3, None, [1], object()], ids=lambda data: type(data).__name__
)
def test_what_is_no_dataset_is_refused(data: Any) -> None:
    with pytest.raises(InvalidItemError, match="dataset 'x'"):
        encode(data, "x", "dataset", {})


def test_an_array_of_objects_has_a_digest_of_its_values() -> None:
    first, second = (body(np.array([1, "x", None], dtype=object), "dataset") for _ in range(2))
    assert first == second != body(np.array([1, "y", None], dtype=object), "dataset")
