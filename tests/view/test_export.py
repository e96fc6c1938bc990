"""An exported run is read by other programs as it was logged."""

from __future__ import annotations

import io
import itertools
import json
import math
from pathlib import Path

import pytest

from ranklog.model.record import Item, Metrics, Params
from ranklog.view.export import write_csv, write_jsonl, write_parquet

pd = pytest.importorskip("pandas")
arrow_csv = pytest.importorskip("pyarrow.csv")
arrow_json = pytest.importorskip("pyarrow.json")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run-a"


def metrics(step: int, **values: float) -> Metrics:
    return Metrics(step, step, -1, values)


@pytest.mark.parametrize("values", list(itertools.permutations([0.5, math.nan, -math.inf])))
def test_a_value_that_is_not_finite_leaves_the_exports_columns_numeric(start_attempt, run_dir, values):
    start_attempt().append([metrics(step, loss=value) for step, value in enumerate(values)])
    lines, table = io.StringIO(), io.StringIO()
    write_jsonl(run_dir, lines)
    write_csv(run_dir, table)
    kept = "".join(line for line in lines.getvalue().splitlines(keepends=True) if '"metrics"' in line)
    columns = arrow_json.read_json(io.BytesIO(kept.encode())).flatten().flatten()
    assert columns.schema.field("values.loss").type == "double"
    read = zip(columns["values.loss"].to_pylist(), columns["not_finite.values.loss"].to_pylist(), strict=True)
    assert [str(float(text or number)) for number, text in read] == [str(value) for value in values]
    frame = pd.json_normalize(pd.read_json(io.StringIO(kept), lines=True).to_dict("records"))
    assert frame["values.loss"].dtype == float and frame["values.loss"].count() == 1
    assert pd.read_csv(io.StringIO(table.getvalue()))["value"].tolist() == pytest.approx(values, nan_ok=True)
    assert arrow_csv.read_csv(io.BytesIO(table.getvalue().encode())).schema.field("value").type == "double"
    write_parquet(run_dir, run_dir / "m.parquet")
    assert list(map(str, parquet.read_table(run_dir / "m.parquet")["value"].to_pylist())) == [
        str(value) for value in values
    ]


def test_the_whole_export_of_a_run_is_strict_json(start_attempt, run_dir):
    note = Item("text", "a", 3, 0, -1, 1, "text/plain", (), {"x": math.nan})
    start_attempt().append([metrics(0, loss=math.nan), Params(0, -1, {"lr": math.inf, "p": 1}), note])
    out = io.StringIO()
    write_jsonl(run_dir, out)
    read = [json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()]
    assert [each["not_finite"] for each in read if "not_finite" in each] == [
        {"values": {"loss": "NaN"}},
        {"values": {"lr": "Infinity"}},
        {"meta": {"x": "NaN"}},
    ]
