"""A run to look at gives what its journal says, bit for bit, and few points that show everything."""

from __future__ import annotations

import math
import struct
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from journals import NAMES, attempts, folder, write
from naive_view import NaiveView

import ranklog
from ranklog.model.errors import InvalidArgumentError, RunNotFoundError
from ranklog.model.record import Coverage, End, Event, MetricInfo, Metrics, Params
from ranklog.view.metrics.frame import COLUMNS
from ranklog.view.run import Run


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOG_CACHE_DIR", str(tmp_path / "cache"))


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@given(attempts)
@settings(max_examples=80, deadline=None)
def test_every_journaled_value_comes_back_bit_for_bit(journal):
    with folder() as tmp, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKLOG_CACHE_DIR", str(tmp / "cache"))
        for attempt, rows in journal:
            write(tmp / "run", attempt, rows)
        view = NaiveView(tmp / "run")
        with Run(tmp / "run") as run:
            frame = run.metrics().numpy()
            every = run.metrics(attempts="all").numpy()
        wanted = [(name, p.step, p.time_ns, bits(p.value), p.attempt) for name in view.names for p in view.series(name)]
        assert list(rows_of(frame)) == wanted
        gone = sorted((n, p.step, p.time_ns, bits(p.value), p.attempt) for n in NAMES for p in view.superseded(n))
        replaced = {column: values[every["superseded"]] for column, values in every.items()}
        assert sorted(rows_of(replaced)) == gone
        assert len(every["step"]) == len(wanted) + len(gone)


def rows_of(frame: dict[str, np.ndarray]) -> zip:
    times = frame["time"].astype(np.int64).tolist()
    columns = (frame["name"].tolist(), frame["step"].tolist(), times, map(bits, frame["value"].tolist()))
    return zip(*columns, frame["attempt"].tolist(), strict=True)


@given(attempts)
@settings(max_examples=40, deadline=None)
def test_estimates_and_deliveries_are_those_of_the_whole_journal(journal):
    from ranklog.view.efficiency import efficiency
    from ranklog.view.outlook import outlook

    with folder() as tmp, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKLOG_CACHE_DIR", str(tmp / "cache"))
        for attempt, rows in journal:
            write(tmp / "run", attempt, rows)
        view = NaiveView(tmp / "run")
        with Run(tmp / "run") as run:
            assert (run.efficiency(), run.outlook()) == (efficiency(view), outlook(view))
            assert run.deliveries == view.summary.deliveries
            assert run.status == view.summary.status
            found = {each.name: each for each in run.names()}
        for row in view.metrics():
            same = found[row.name]
            assert (same.points, same.last_step, same.op, same.superseded) == (
                row.points, row.last_step, row.op, row.superseded,
            )  # fmt: skip
            assert same.coverage == row.coverage
            for name in ("last", "min", "max"):
                assert bits(getattr(same, name)) == bits(getattr(row, name)) or getattr(same, name) == getattr(
                    row, name
                )


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    first = [
        *(Metrics(step, 10**9 * step, -1, {"loss": float(step), "epoch": step // 10}) for step in range(100)),
        *(Metrics(step, 10**9 * step, -1, {f"mine/rank_{rank:03d}": rank}) for rank in range(3) for step in range(5)),
        Metrics(7, 7, -1, {"acc": 0.5}, "mean", Coverage(3, 4, 3)),
        MetricInfo(1, -1, "acc", "max", "validation"),
        Params(1, -1, {"lr": 0.1, "seed": 1}),
        Params(2, -1, {"lr": 0.2}),
        Event("warning", "silent_rank", "rank 2 is silent", 3, 2, 7),
    ]
    write(tmp_path / "runs" / "run", 0, first)
    write(tmp_path / "runs" / "run", 1, [Metrics(90, 500 * 10**9, -1, {"loss": 0.25}), End("FINISHED", 501 * 10**9)])
    return tmp_path / "runs" / "run"


@pytest.fixture
def run(run_dir: Path) -> Run:
    with ranklog.open_run(run_dir) as run:
        yield run


def test_it_tells_what_is_known_of_the_run(run):
    assert (run.status, run.id, run.facts.experiment) == ("FINISHED", "run", "digits")
    assert (len(run.attempts), run.params) == (2, {"lr": 0.2, "seed": 1})
    assert [event.code for event in run.events] == ["silent_rank"]
    (acc,) = run.names("a*")
    assert (acc.name, acc.goal, acc.context, acc.coverage) == ("acc", "max", "validation", Coverage(3, 4, 3))
    assert repr(run) == "<Run run of 'digits': FINISHED, 6 metrics>"


def test_the_columns_tell_rank_attempt_and_coverage(run):
    frame = run.metrics("acc", "mine/rank_002").numpy()
    assert tuple(frame) == COLUMNS
    assert [frame[name].tolist()[0] for name in ("op", "rank", "answered", "world_size")] == ["mean", -1, 3, 4]
    assert [frame[name].tolist()[-1] for name in ("op", "rank", "answered", "world_size")] == [None, 2, -1, -1]


def test_series_per_rank_are_asked_for_by_rank(run):
    assert set(run.metrics("mine", ranks=[0, 2]).numpy()["rank"].tolist()) == {0, 2}
    assert set(run.metrics(ranks="all").numpy()["rank"].tolist()) == {0, 1, 2}
    with pytest.raises(KeyError, match="per_rank"):
        run.metrics("loss", ranks="all")
    with pytest.raises(KeyError, match="'mine' has one series per rank; give ranks='all'"):
        run.metrics("mine")


def test_series_per_rank_are_drawn_one_line_each(run):
    pytest.importorskip("matplotlib").use("agg")
    labels = [line.get_label() for line in run.plot("mine", ranks=[0, 2]).get_lines()]
    assert labels == ["mine/rank_000", "mine/rank_002"]


def test_an_unknown_metric_is_an_error_with_the_nearest_names(run):
    with pytest.raises(KeyError, match="'los'; the nearest names are loss, "):
        run.metrics("los")


def test_wrong_arguments_are_errors(run):
    for wrong in ({"points": 1}, {"smooth": 1.0}, {"attempts": "old"}):
        with pytest.raises(InvalidArgumentError):
            run.metrics("loss", **wrong)
    with pytest.raises(KeyError, match="'stepp'; the nearest names are step"):
        run.metrics("loss", x="stepp")


def test_a_range_can_be_given_on_each_axis(run):
    assert run.metrics("loss", start=10, end=12).numpy()["step"].tolist() == [10, 11, 12]
    start = datetime.fromtimestamp(20, timezone.utc)
    assert run.metrics("loss", x="time", start=start, end=21.5).numpy()["step"].tolist() == [20, 21]
    by_epoch = run.metrics("loss", x="epoch", start=3, end=3).numpy()
    assert (by_epoch["step"].tolist(), by_epoch["x"].tolist()) == (list(range(30, 40)), [3.0] * 10)


def test_running_time_has_no_pause_between_attempts(tmp_path):
    second = 10**9
    write(tmp_path / "run", 0, [Metrics(0, 5 * second, -1, {"loss": 1.0})], at_ns=second)
    write(tmp_path / "run", 1, [Metrics(1, 103 * second, -1, {"loss": 1.0})], at_ns=100 * second)
    with Run(tmp_path / "run") as run:
        assert run.metrics("loss", x="relative").numpy()["x"].tolist() == [4.0, 102.0]
        assert run.metrics("loss", x="running").numpy()["x"].tolist() == [4.0, 7.0]


def test_smoothing_does_not_depend_on_width_or_range(run):
    every = run.metrics("loss", smooth=0.9).numpy()
    by_step = dict(zip(every["step"].tolist(), every["value"].tolist(), strict=True))
    for frame in (run.metrics("loss", smooth=0.9, points=5), run.metrics("loss", smooth=0.9, start=40, points=7)):
        found = frame.numpy()
        assert all(
            math.isclose(value, by_step[step], rel_tol=1e-9)
            for step, value in zip(found["step"].tolist(), found["value"].tolist(), strict=True)
        )


def test_sampled_frames_count_what_is_not_a_number(tmp_path):
    values = [1.0, math.nan, 3.0, math.inf, 5.0]
    write(tmp_path / "run", 0, [Metrics(step, step, -1, {"loss": value}) for step, value in enumerate(values)])
    with Run(tmp_path / "run") as run:
        buckets = run.metrics("loss", points=2).buckets
        assert [(each.nan, each.posinf, each.neginf) for each in buckets] == [(1, 1, 0)]


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_other_libraries_get_the_same_columns_with_missing_numbers(run, library):
    frame = getattr(run.metrics("acc", "mine/rank_002"), library)()
    columns = {
        "pandas": lambda: {
            name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame
        },
        "polars": frame.to_dict if library == "polars" else None,
        "arrow": frame.to_pydict if library == "arrow" else None,
    }[library]()
    assert tuple(columns) == COLUMNS
    assert list(columns["rank"]) == [None] + [2] * 5
    assert next(iter(columns["world_size"])) == 4
    assert str(columns["time"][0]).startswith("1970-01-01 00:00:00")


def test_following_gives_what_is_logged_from_now_on_until_the_end(start_attempt, tmp_path):
    writer = start_attempt()
    writer.append([Metrics(0, 1, -1, {"loss": 0.0})])
    with Run(tmp_path / "run-a") as run:
        news = run.follow(timeout=60)
        writer.append([Metrics(1, 2, -1, {"loss": 1.0}), Metrics(1, 2, -1, {"acc": 2.0})])
        assert next(news).numpy()["value"].tolist() == [1.0, 2.0]
        writer.append([Metrics(2, 3, -1, {"loss": 3.0}), End("FINISHED", 4)])
        writer.close()
        assert [frame.numpy()["value"].tolist() for frame in news] == [[3.0]]


def test_runs_open_by_path_id_beginning_and_latest(run_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKLOG_DIR", str(tmp_path / "runs"))
    for name in (str(run_dir), "run", "ru", "latest"):
        with ranklog.open_run(name) as run:
            assert run.directory.resolve() == run_dir
    assert [run.id for run in ranklog.open_runs()] == ["run"]
    with pytest.raises(RunNotFoundError, match="not a directory"):
        ranklog.open_runs(tmp_path / "none")


def test_a_run_without_metrics_gives_empty_frames(start_attempt, tmp_path):
    start_attempt().close()
    with Run(tmp_path / "run-a") as run:
        assert (len(run.metrics()), run.names(), list(run.metrics().pandas().columns)) == (0, [], list(COLUMNS))
        with pytest.raises(KeyError, match="no metrics"):
            run.metrics("loss")


def test_a_thousand_runs_are_listed_without_a_thousand_open_files(tmp_path):
    for number in range(40):
        write(tmp_path / "runs" / f"run-{number}", 0, [Metrics(0, 1, -1, {"loss": float(number)})])
    before = len([*Path("/proc/self/fd").iterdir()])
    runs = ranklog.open_runs(tmp_path / "runs")
    assert runs._repr_html_().count("<tr>") == 41
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_closed_run_opens_again_when_it_is_used(run_dir):
    run = ranklog.open_run(run_dir)
    first = run.metrics("loss").numpy()["value"].tolist()
    run.close()
    assert run.metrics("loss").numpy()["value"].tolist() == first
    run.close()


def test_refresh_tells_whether_something_was_appended(start_attempt, tmp_path):
    writer = start_attempt()
    with Run(tmp_path / "run-a") as run:
        assert [run.refresh(), run.refresh()] == [False, False]
        writer.append([Metrics(0, 1, -1, {"loss": 0.5})])
        assert [run.refresh(), run.refresh()] == [True, False]
        assert run.metrics("loss").numpy()["value"].tolist() == [0.5]
