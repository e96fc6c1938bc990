"""MLflow's latest value of a metric is the one that ranklog shows, however often and fast it was logged."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from mlflow_database import place_database

pytest.importorskip("mlflow")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from items import T0_NS
from test_mlflow import Opened, make_run

from ranklog.backends.mlflow.times import Times
from ranklog.model.record import EVERY_BACKEND, Metrics
from ranklog.view.query import RunView

NAN = math.nan


@pytest.fixture(scope="module")
def savedir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return place_database(tmp_path_factory.mktemp("mllogs") / "mlflow" / "mlflow.db").parent


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def logged(value: float, *, step: int = 0, at_us: int = 0, name: str = "loss", corrects: bool = False) -> Metrics:
    return Metrics(step, T0_NS + at_us * 1000, EVERY_BACKEND, {name: value}, corrects=corrects)


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@pytest.mark.parametrize(
    "values", [(5.0, 3.0), (NAN, -1.0), (1.0, NAN), (-1.0, NAN), (NAN, 1.0, NAN), (2.0, 2.0, 1.0), (math.inf, 0.0)]
)
def test_the_last_of_several_values_within_a_millisecond_is_the_latest(
    values: tuple[float, ...], tmp_path: Path, savedir: Path
) -> None:
    opened = Opened(make_run(tmp_path, savedir))
    opened.log(*(logged(value, at_us=index) for index, value in enumerate(values)))
    shown = RunView(opened.run.dir).metrics()[0].last
    assert same(opened.client.get_run(opened.id).data.metrics["loss"], shown)
    assert same(shown, values[-1])
    assert len(opened.history("loss")) == len(values), "none is lost"


def test_a_later_batch_and_a_forwarder_that_was_started_again_go_on_with_the_times(
    tmp_path: Path, savedir: Path
) -> None:
    opened = Opened(make_run(tmp_path, savedir))
    opened.log(logged(5.0), logged(4.0))
    opened.log(logged(3.0))
    opened.reopen(resumed_at=len(opened.run.entries))
    opened.log(logged(2.0))
    assert opened.client.get_run(opened.id).data.metrics["loss"] == 2.0
    t0 = T0_NS // 10**6
    assert opened.history("loss") == [(0, t0, 5.0), (0, t0 + 1, 4.0), (0, t0 + 2, 3.0), (0, t0 + 3, 2.0)]


def test_delivered_again_in_other_parts_and_after_a_crash_shows_each_point_once(tmp_path: Path, savedir: Path) -> None:
    opened = Opened(make_run(tmp_path, savedir))
    entries = opened.run.add(*(logged(float(-value)) for value in range(6)))
    opened.backend.deliver(entries=entries[:4])
    before = opened.history("loss")
    opened.client.set_tag(opened.id, "ranklog.delivered_metrics", "lost")
    opened.reopen(resumed_at=1)
    opened.backend.deliver(entries=entries[:2])
    opened.backend.deliver(entries=entries[2:4])
    assert opened.history("loss") == before
    opened.client.set_tag(opened.id, "ranklog.delivered_metrics", "lost")
    opened.reopen(resumed_at=entries[3].ordinal)
    opened.backend.deliver(entries=entries[3:])
    assert len(opened.history("loss")) == 6
    assert opened.client.get_run(opened.id).data.metrics["loss"] == -5.0


def test_a_batch_that_failed_and_comes_again_in_halves_keeps_its_times(
    tmp_path: Path, savedir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(make_run(tmp_path, savedir))
    entries = opened.run.add(*(logged(float(-value)) for value in range(4)))
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(type(opened.client), "log_batch", _no_connection)
        opened.backend.deliver(entries=entries)
    for part in (entries[:1], entries[1:2], entries[2:]):
        opened.backend.deliver(entries=part)
    t0 = T0_NS // 10**6
    assert opened.history("loss") == [(0, t0 + index, float(-index)) for index in range(4)]


def _no_connection(*_: object, **__: object) -> None:
    raise ConnectionError


def test_points_that_meet_no_other_keep_their_time(tmp_path: Path, savedir: Path) -> None:
    """Also those that an earlier version delivered, so that they are not there twice."""
    opened = Opened(make_run(tmp_path, savedir))
    opened.log(
        logged(1.0, step=0),
        logged(2.0, step=1),
        logged(1.0, step=0, name="other"),
        logged(3.0, step=1, at_us=1000),
        logged(4.0, step=1, at_us=1000, corrects=True),
    )
    t0 = T0_NS // 10**6
    assert opened.history("loss") == [(0, t0, 1.0), (1, t0, 2.0), (1, t0 + 1, 3.0), (1, t0 + 2, 4.0)]
    assert opened.history("other") == [(0, t0, 1.0)]


moves = st.tuples(
    st.integers(0, 3),  # step
    st.integers(-2, 2),  # milliseconds since the point before; a clock may go back
    st.sampled_from([NAN, math.inf, -math.inf, 0.0, -1.0, 1.0, 2.0]),
    st.booleans(),  # corrects
)


def latest_in_mlflow(points: list[tuple[int, int, float]]) -> float:
    """As MLflow's store has it: a NaN counts as 0, and a later point must be above the latest one."""

    def order(point: tuple[int, int, float]) -> tuple[int, int, float]:
        step, time_ms, value = point
        return step, time_ms, 0.0 if math.isnan(value) else value

    latest = points[0]
    for point in points[1:]:
        if order(point) > order(latest):
            latest = point
    return latest[2]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(moves, min_size=1, max_size=20), st.data())
def test_whatever_is_logged_mlflows_latest_is_the_last_of_the_highest_step(moves: list, data: st.DataObject) -> None:
    at_us, records = 10_000, []
    for step, after_ms, value, corrects in moves:
        at_us += after_ms * 1000
        records.append(logged(value, step=step, at_us=at_us, corrects=corrects))
    whole = Times()
    points = _points(whole, records, 0)
    highest = max(record.step for record in records)
    shown = [record.values["loss"] for record in records if record.step == highest][-1]
    assert same(latest_in_mlflow(points), shown)
    of_highest = [point[:2] for point in points if point[0] == highest]
    assert len(set(of_highest)) == len(of_highest)
    # Noted again, and by another process that begins in the middle, they are the same.
    cut = data.draw(st.integers(0, len(records)))
    again = Times()
    _points(again, records[:cut], 0)
    again.forget(below=cut)
    assert _same_times(_points(again, records[cut:], cut), points[cut:])
    assert _same_times(_points(whole, records, 0), points)


def _points(times: Times, records: list[Metrics], first: int) -> list[tuple[int, int, float]]:
    for ordinal, record in enumerate(records, first):
        times.add(ordinal, record)
    return [
        (record.step, time_ms, value)
        for ordinal, record in enumerate(records, first)
        for _, value, time_ms in times.points(ordinal, record)
    ]


def _same_times(a: list[tuple[int, int, float]], b: list[tuple[int, int, float]]) -> bool:
    return [point[:2] for point in a] == [point[:2] for point in b]


def test_a_long_run_leaves_no_more_behind_than_a_short_one() -> None:
    times = Times()
    for ordinal in range(1000):
        record = logged(1.0, step=ordinal // 2, at_us=ordinal * 1000)
        times.add(ordinal, record)
    assert len(times._names["loss"]._given) <= 2
    assert not times._moved
