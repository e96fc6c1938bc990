"""Views of a run show the content of its journal and cursors."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ranklog import JournalLogger
from ranklog.journal.cursor import Cursor, save_cursor
from ranklog.journal.layout import FACTS, find_runs, segment_name
from ranklog.journal.store import store_bytes
from ranklog.model.as_json import to_json, to_plain
from ranklog.model.errors import InvalidArgumentError, RunNotFoundError
from ranklog.model.record import Coverage, End, Event, Item, Metrics, Params
from ranklog.view.export import metric_rows
from ranklog.view.find import find_run
from ranklog.view.query import RunView
from ranklog.view.summary import summarise


def metrics(step: int, *, to: int = -1, op: str | None = None, coverage: Coverage | None = None, **values: float):
    return Metrics(step, step, to, values, op, coverage)


@pytest.fixture
def gone() -> int:
    """The pid of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(120)
    return process.pid


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run-a"


def test_a_metric_is_summarised_in_one_row(start_attempt, run_dir):
    writer = start_attempt()
    writer.append([metrics(0, loss=3.0), metrics(5, loss=1.0), metrics(2, loss=2.0, acc=0.5)])
    acc, loss = RunView(run_dir).metrics()
    assert (acc.name, acc.points, acc.last, acc.last_step, acc.op, acc.coverage) == ("acc", 1, 0.5, 2, None, None)
    assert (loss.points, loss.last, loss.last_step, loss.min, loss.max) == (3, 1.0, 5, 1.0, 3.0)


def test_nan_is_shown_as_the_last_value_but_is_neither_lowest_nor_highest(start_attempt, run_dir):
    start_attempt().append([metrics(0, loss=1.0), metrics(1, loss=math.inf), metrics(2, loss=math.nan, bad=math.nan)])
    bad, loss = RunView(run_dir).metrics()
    assert math.isnan(loss.last) and (loss.min, loss.max) == (1.0, math.inf)
    assert math.isnan(bad.min) and math.isnan(bad.max)


def test_the_lowest_coverage_of_a_metric_is_shown(start_attempt, run_dir):
    full, low = Coverage(4, 4, 4), Coverage(2, 4, 2)
    steps = [metrics(i, op="mean", coverage=low if i == 1 else full, loss=1.0) for i in range(3)]
    start_attempt().append(steps)
    (row,) = RunView(run_dir).metrics()
    assert (row.op, row.coverage) == ("mean", low)


def test_coverage_is_lower_when_fewer_answering_ranks_had_a_value(start_attempt, run_dir):
    full, low = Coverage(4, 4, 4), Coverage(4, 4, 1)
    start_attempt().append([metrics(i, op="mean", coverage=low if i == 1 else full, loss=1.0) for i in range(3)])
    (row,) = RunView(run_dir).metrics()
    assert (row.coverage, str(row.coverage)) == (low, "1 of 4 ranks had a value")


def test_an_attempt_that_goes_back_supersedes_later_points_without_hiding_them(start_attempt, run_dir):
    start_attempt().append([metrics(0, loss=1.0), metrics(1, loss=2.0), metrics(1, loss=2.5), metrics(2, loss=9.0)])
    start_attempt(attempt=1).append([metrics(1, loss=7.0), metrics(3, loss=4.0)])
    view = RunView(run_dir)
    assert [(p.step, p.value, p.attempt) for p in view.series("loss")] == [(0, 1.0, 0), (1, 7.0, 1), (3, 4.0, 1)]
    assert [(p.step, p.value, p.attempt) for p in view.superseded("loss")] == [(1, 2.0, 0), (1, 2.5, 0), (2, 9.0, 0)]
    assert view.metrics()[0].superseded == 3
    assert view.series("nothing") == []
    rows = [(row[1], row[2], row[-1]) for row in metric_rows(run_dir)]
    assert rows == [(0, 1.0, 0), (1, 2.0, 1), (1, 2.5, 1), (1, 7.0, 0), (2, 9.0, 1), (3, 4.0, 0)]


def test_an_attempt_supersedes_only_metrics_that_it_logs_from_an_earlier_step(start_attempt, run_dir):
    start_attempt().append([metrics(step, loss=float(step)) for step in range(4)] + [metrics(9, epoch=0.5)])
    start_attempt(attempt=1).append([metrics(step, loss=float(step)) for step in range(4, 6)])
    view = RunView(run_dir)
    assert [p.step for p in view.series("loss")] == [0, 1, 2, 3, 4, 5]
    assert [p.step for p in view.series("epoch")] == [9]
    assert [row.superseded for row in view.metrics()] == [0, 0]


def test_parameters_items_and_events(start_attempt, run_dir):
    writer = start_attempt()
    file = store_bytes(run_dir, "a.txt", b"hello")
    writer.append([Params(0, -1, {"lr": 0.1, "n": 1}), Params(0, -1, {"lr": 0.2})])
    writer.append([Item("text", "a", 3, 0, -1, 1, "text/plain", (file,)), Event("warning", "nan", "first NaN", 0)])
    view = RunView(run_dir)
    assert view.params == {"lr": 0.2, "n": 1}
    (item,) = view.items
    assert (item.kind, item.name, item.step, item.rank, item.files, item.size) == ("text", "a", 3, 1, 1, 5)
    assert [event.code for event in view.events] == ["nan"]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_status_is_the_one_in_the_journal(start_attempt, run_dir, status, gone):
    start_attempt(pid=gone).append([End(status, 0, "why")])
    view = RunView(run_dir)
    assert view.summary.status == status == summarise(run_dir).status
    assert view.end is not None and view.end.reason == "why"


def test_without_an_end_the_status_of_a_run_follows_from_its_process(start_attempt, tmp_path, gone):
    start_attempt("here", pid=os.getpid())
    start_attempt("gone", pid=gone)
    for name, silent_s in (("fresh", 0), ("silent", 600), ("lost", 1000)):
        start_attempt(name, host="another-host")
        os.utime(tmp_path / name / segment_name(0), (time.time() - silent_s,) * 2)
    start_attempt("closed", host="another-host")
    save_cursor(tmp_path / "closed", 0, Cursor(backend="recording", next_ordinal=1, status="KILLED"))
    found = {path.name: (summarise(path).status, RunView(path).summary.status) for path in find_runs(tmp_path)}
    assert found == {
        "here": ("RUNNING", "RUNNING"),
        "gone": ("KILLED", "KILLED"),
        "fresh": ("RUNNING", "RUNNING"),
        "silent": ("UNKNOWN", "UNKNOWN"),
        "lost": ("KILLED", "KILLED"),
        "closed": ("KILLED", "KILLED"),
    }


def test_a_live_run_touches_its_journal_while_it_logs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("ranklog.pipeline.drain.TOUCH_EVERY_S", 0.05)
    logger = JournalLogger(tmp_path)
    with logger.start_logging():
        segment = logger.run_dir / segment_name(0)
        os.utime(segment, (0, 0))
        deadline_s = time.monotonic() + 10
        while segment.stat().st_mtime < time.time() - 60:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)


def test_a_run_that_resumes_after_an_end_is_running(start_attempt, run_dir):
    start_attempt().append([End("FAILED", 0)])
    start_attempt(attempt=1)
    assert summarise(run_dir).status == RunView(run_dir).summary.status == "RUNNING"
    assert summarise(run_dir).attempts == 2


def test_delivery_counts_only_the_records_for_each_backend(start_attempt, run_dir):
    writer = start_attempt(backends=("a", "b"), segment_bytes=200)
    for step in range(10):
        writer.append([metrics(step, to=0b01 if step % 2 else 0b11, loss=1.0)])
    total = writer.ordinal
    save_cursor(run_dir, 0, Cursor(backend="a", next_ordinal=total, known={"url": "http://x"}))
    save_cursor(run_dir, 1, Cursor(backend="b", next_ordinal=2, error="down", failures=3, refused={"1": "no"}))
    save_cursor(run_dir, 1000, Cursor(backend="mlflow-0123abcd", next_ordinal=1))
    a, b, extra = RunView(run_dir).summary.deliveries
    assert (a.backend, a.waiting, a.known, a.extra) == ("a", 0, {"url": "http://x"}, False)
    assert (b.backend, b.error, b.failures, b.refused) == ("b", "down", 3, {"1": "no"})
    assert b.accepted + b.waiting == total - 5
    assert (extra.backend, extra.extra, extra.waiting) == ("mlflow-0123abcd", True, total - 1)
    assert [each.waiting for each in summarise(run_dir).deliveries] == [a.waiting, b.waiting, extra.waiting]


def test_damage_is_reported_and_the_rest_is_shown(start_attempt, run_dir):
    writer = start_attempt()
    writer.append([metrics(0, loss=1.0)])
    size = (run_dir / segment_name(0)).stat().st_size
    writer.close()
    with (run_dir / segment_name(0)).open("ab") as file:
        file.write(b"rubbish")
    view = RunView(run_dir)
    assert [(d.segment, d.offset, d.torn) for d in view.damage] == [(0, size, False)]
    assert view.names == ["loss"]


def test_a_run_that_has_not_begun_is_unknown(start_attempt, run_dir):
    start_attempt().close()
    (run_dir / segment_name(0)).unlink()
    summary = summarise(run_dir)
    assert (summary.status, summary.attempts, summary.records, summary.deliveries) == ("UNKNOWN", 0, 0, ())
    assert RunView(run_dir).metrics() == []


def test_a_run_is_found_by_path_by_id_and_by_its_unique_beginning(start_attempt, tmp_path):
    runs = tmp_path / "runs"
    for name in ("run-a", "run-ab", "other"):
        start_attempt(f"runs/{name}")
    assert find_run(str(runs / "other"), Path("nowhere")) == runs / "other"
    assert find_run("run-a", runs) == runs / "run-a"
    assert find_run("o", runs) == runs / "other"
    with pytest.raises(InvalidArgumentError, match=r"'run' matches 2 runs.*run-a, run-ab"):
        find_run("run", runs)
    with pytest.raises(InvalidArgumentError, match=r"runs holds several runs, name one of them: .*run-ab"):
        find_run(str(runs), Path("nowhere"))
    with pytest.raises(RunNotFoundError, match=r"no run 'x' in .*there are other, run-a, run-ab"):
        find_run("x", runs)
    with pytest.raises(RunNotFoundError, match="does not exist"):
        find_run("x", tmp_path / "nowhere")


def test_a_run_without_facts_is_found_by_its_path(start_attempt, run_dir):
    start_attempt()
    (run_dir / FACTS).unlink()
    assert find_run(str(run_dir), run_dir) == run_dir


def test_records_become_plain_json_without_losing_values_that_json_lacks():
    record = metrics(1, op="mean", coverage=Coverage(1, 2, 1), a=math.nan, b=math.inf, c=-math.inf, d=0.1)
    plain = json.loads(to_json(record))
    assert plain == {
        "type": "metrics",
        "step": 1,
        "time_ns": 1,
        "to": -1,
        "values": {"a": None, "b": None, "c": None, "d": 0.1},
        "op": "mean",
        "coverage": {"answered": 1, "world_size": 2, "contributed": 1},
        "corrects": False,
        "not_finite": {"values": {"a": "NaN", "b": "Infinity", "c": "-Infinity"}},
    }
    assert math.isnan(float(plain["not_finite"]["values"]["a"]))
    assert to_plain([record, {"x": [1.0, math.nan]}]) == [
        plain,
        {"x": [1.0, None], "not_finite": {"x": {"1": "NaN"}}},
    ]
    assert to_plain(b"\0\xff") == "AP8="
    with pytest.raises(TypeError, match="object has no plain form"):
        to_plain(object())


def test_latest_is_the_run_that_was_created_last_unless_one_has_that_name(start_attempt, tmp_path):
    for name in ("b", "a"):
        start_attempt(name)
    assert find_run("latest", tmp_path).name == "a"
    start_attempt("latest")
    start_attempt("z")
    assert find_run("latest", tmp_path).name == "latest"
