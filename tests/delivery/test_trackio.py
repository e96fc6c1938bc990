"""What the Trackio backend writes, as Trackio's own API and command line read it."""

import json
import math
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
import trackio.sqlite_storage
from items import T0_NS, Run, metrics, png
from test_conformance import Case
from trackio_reader import TrackioRun

from ranklog import TrackioLogger
from ranklog.backends.registry import create_backend
from ranklog.backends.trackio import items
from ranklog.backends.trackio.backend import TrackioBackend
from ranklog.backends.trackio.store import ProjectBusyError
from ranklog.journal.cursor import load_cursor
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import EVERY_BACKEND, Coverage, End, Event, MetricInfo, Params
from ranklog.model.spec import BackendSpec


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case("trackio", tmp_path / "trackio", tmp_path)


def read(case: Case) -> TrackioRun:
    return TrackioRun(case.savedir, "exp", case.run_id)


def test_what_is_known_about_the_run_stands_in_its_config(case: Case) -> None:
    case.run.add(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.1, "big": 2**64 - 1, "_own": "x"}),
        MetricInfo(T0_NS, EVERY_BACKEND, "loss", "min", "validation"),
        metrics(4, {"loss": 0.5}, coverage=Coverage(3, 4, 3)),
        Event("warning", "first-nan", "loss is nan", T0_NS, step=4),
        End("FAILED", T0_NS, "out of memory"),
    )
    case.deliver(None)
    run = read(case)
    assert (run.config["lr"], run.config["big"], run.config["ranklog._own"]) == (0.1, 2**64 - 1, "x")
    assert (run.config["ranklog.goal.loss"], run.config["ranklog.context.loss"]) == ("min", "validation")
    assert (run.config["ranklog.coverage"], run.config["ranklog.status"]) == (
        "3 of 4 ranks had a value, 3 answered",
        "FAILED",
    )
    assert run.config["ranklog.reason"] == "out of memory"
    assert run.config["_Created"] == "2023-11-14T22:13:20.000000+00:00"
    assert [(a["title"], a["text"], a["level"], a["step"]) for a in run.alerts] == [
        ("first-nan", "loss is nan", "warn", 4)
    ]


def test_the_load_of_a_node_is_on_the_page_of_system_metrics_once_at_its_times(case: Case) -> None:
    case.run.add(
        metrics(0, {"system/cpu_utilization_percentage": 50.0, "loss": 1.0}),
        metrics(0, {"system/cpu_utilization_percentage": 75.0}),
    )
    case.deliver(None)
    case.deliver(None)
    run = read(case)
    assert [row["cpu_utilization_percentage"] for row in run.load] == [50.0, 75.0]
    assert {row["timestamp"] for row in run.load} == {"2023-11-14T22:13:20.000000+00:00"}
    assert run.values("loss") == [(0, 1.0)]
    assert not run.values("system/cpu_utilization_percentage")


def test_steps_times_and_values_that_are_not_finite_are_the_users(case: Case) -> None:
    case.run.add(
        metrics(7, {"loss": math.nan, "up": math.inf, "step": 3.0, "__step": 4.0}), metrics(3, {"loss": -math.inf})
    )
    case.deliver("FINISHED")
    run = read(case)
    assert [(step, str(value)) for step, value in run.values("loss")] == [(3, "-inf"), (7, "nan")]
    assert run.values("up") == [(7, math.inf)]
    assert run.values("__step") == [(7, 3.0)] and run.values("____step") == [(7, 4.0)]
    assert run.rows[-1]["timestamp"] == "2023-11-14T22:13:27.000000+00:00"


def test_an_attempt_that_goes_back_takes_the_place_of_what_it_undid(case: Case) -> None:
    run = case.run
    run.add(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.1}),
        *(metrics(step, {"loss": float(step), "lr": 0.5}) for step in range(5)),
        run.text("note", "of the first attempt", step=4),
    )
    case.deliver(None)
    run.add(
        msgspec.structs.replace(run.attempt, attempt=1),
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.2}),
        metrics(2, {"loss": 20.0}, later_ms=9000),
        metrics(3, {"loss": 30.0}, later_ms=9000),
    )
    case.deliver(None)
    run.add(metrics(3, {"loss": 31.0}, later_ms=9500, corrects=True))
    case.deliver("FINISHED")
    expected = [(0, 0.0), (1, 1.0), (2, 20.0), (3, 31.0)]
    told = read(case)
    assert sorted(told.values("loss")) == expected
    assert told.values("lr") == [(step, 0.5) for step in range(5)]
    assert [step for step, _ in told.values("note")] == [4]
    assert told.config["ranklog.superseded.1"] == "loss from step 2"
    assert (told.config["lr"], told.config["ranklog.changed.lr"]) == (0.2, "0.1; 0.2 in attempt 1")
    for ordinal in (1, 10):  # what comes again comes again in its order
        case.forget(ordinal)
        case.deliver("FINISHED")
        assert sorted(read(case).values("loss")) == expected


def test_a_batch_that_failed_half_way_is_there_once_when_it_comes_again(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = case.run
    backend = TrackioBackend()
    backend.open(context=run.context())
    run.add(*(metrics(step, {"loss": float(step)}) for step in range(3)))
    run.add(msgspec.structs.replace(run.attempt, attempt=1), metrics(1, {"loss": 10.0}, later_ms=9000))
    log = backend._store.log

    def full(rows: object, config: object = None) -> None:  # a full disk cannot be had here
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backend._store, "log", full)
    with pytest.raises(OSError, match="No space"):
        backend.deliver(entries=run.entries)
    monkeypatch.setattr(backend._store, "log", log)
    backend.deliver(entries=run.entries)
    backend.deliver(entries=run.entries)
    backend.close(status="FINISHED", timeout_s=1.0)
    assert sorted(read(case).values("loss")) == [(0, 0.0), (1, 10.0)]
    assert read(case).config["ranklog.attempt"] == 1


def test_lists_pages_references_and_what_is_too_large_to_show_are_all_there(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = tmp_path / "ck pt"
    shards.mkdir()
    (shards / "rank0.bin").write_bytes(b"shard")
    monkeypatch.setattr(items, "MAX_ROWS", 1)
    run = case.run
    run.add(
        run.images("many", [png(1, 1), png(2, 1)], captions=["one", "two"], step=2),
        run.plotly("plot", {"data": [], "layout": {"title": {"text": "a title"}}}),
        run.reference("net", shards),
        run.table("rows", ["a"], [[1], [2]]),
        run.table("twice", ["a", "a"], [[1, 2]]),
        run.text("long", "x" * (1 << 20) + "y"),
        run.folder("odd/näme", {"sub/x.txt": b"x"}, kind="best_model"),
        run.file("odd/näme", b"another kind of this name"),
        run.file("grows", b"one", step=1),
        run.file("grows", b"two", step=2),
    )
    case.deliver("FINISHED")
    told = read(case)
    assert told.media("many/1") == ("trackio.image", png(2, 1), "two")
    kind, page, _ = told.media("plot")
    assert kind == "trackio.html" and b"a title" in page
    reference = told.artifacts["output", "net:v0"]
    assert [(entry["path"], entry["ref"]) for entry in reference["manifest"]] == [
        ("rank0.bin", f"{shards.as_uri()}/rank0.bin")
    ]
    assert reference["metadata"]["uri"] == shards.as_uri() and reference["files"] == {}
    assert b'"data":[[1],[2]]' in told.artifacts["output", "rows:v0"]["files"]["rows.json"]
    assert b'"columns":["a","a"]' in told.artifacts["output", "twice:v0"]["files"]["twice.json"]
    assert told.artifacts["output", "long:v0"]["files"]["long.txt"].endswith(b"y")
    best = told.artifacts["output", "odd_x002F_n_x00E4_me:v0"]
    assert best["files"] == {"sub/x.txt": b"x"} and sorted(best["aliases"]) == ["best", "latest"]
    other = told.artifacts["output", "odd_x002F_n_x00E4_me-artifact:v0"]
    assert other["files"] == {"näme": b"another kind of this name"} and other["metadata"]["name"] == "odd/näme"
    assert told.artifacts["output", "grows:v0"]["files"] == {"grows": b"one"}
    assert told.artifacts["output", "grows:v1"]["aliases"] == ["latest"]
    assert not load_cursor(run.dir, 0, "trackio").refused


def test_nothing_but_its_own_folder_is_touched_and_that_is_private(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setenv("TRACKIO_BUCKET_ID", "some/bucket")
    monkeypatch.setattr("trackio.bucket_storage.download_bucket_to_trackio_dir", fetched.append)
    before, own = set(threading.enumerate()), trackio.sqlite_storage.TRACKIO_DIR
    case.run.add(*case.run.each_kind())
    case.deliver("FINISHED")
    assert set(threading.enumerate()) <= before and not fetched
    assert own == trackio.sqlite_storage.TRACKIO_DIR
    files = [path for path in case.savedir.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    folders = [case.savedir, *(path for path in case.savedir.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_on_a_network_file_system_there_is_no_log_that_needs_shared_memory(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_SQLITE_JOURNAL_MODE", "")
    monkeypatch.delenv("TRACKIO_SQLITE_JOURNAL_MODE")
    monkeypatch.setattr("trackio.utils.is_network_filesystem", lambda path: True)  # there is none here
    case.run.add(metrics(0, {"loss": 1.0}))
    case.deliver("FINISHED")
    # Bytes 18 and 19 of a database say 1 for a rollback journal, 2 for a write-ahead log.
    assert (case.savedir / "exp.db").read_bytes()[18:20] == b"\x01\x01"
    assert read(case).values("loss") == [(0, 1.0)]


DASHBOARD = """
import sys
from trackio.sqlite_storage import SQLiteStorage, _configure_sqlite_pragmas
import sqlite3
connection = sqlite3.connect(SQLiteStorage.get_project_db_path("exp"))
_configure_sqlite_pragmas(connection)
print(connection.execute("SELECT count(*) FROM metrics").fetchone(), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["", "delete"])
def test_a_dashboard_in_another_journal_mode_makes_records_wait_and_the_command_we_show_does_not(
    mode: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_SQLITE_JOURNAL_MODE", "")
    monkeypatch.delenv("TRACKIO_SQLITE_JOURNAL_MODE")
    monkeypatch.setattr("trackio.utils.is_network_filesystem", lambda path: True)  # there is none here
    backend = TrackioBackend()
    known = backend.open(context=case.run.context())
    assert known["show"].startswith(f"TRACKIO_SQLITE_JOURNAL_MODE=delete TRACKIO_DIR={case.savedir} trackio show")
    environment = {**os.environ, "TRACKIO_DIR": str(case.savedir), "TRACKIO_SQLITE_JOURNAL_MODE": mode}
    # Each look at a page opens the database as this does; it is held open, as by a page that is slow.
    dashboard = subprocess.Popen(
        [sys.executable, "-c", DASHBOARD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with dashboard:
        assert dashboard.stdout is not None and dashboard.stdin is not None
        assert dashboard.stdout.readline()
        entries = case.run.add(metrics(0, {"loss": 1.0}))
        if mode:
            backend.deliver(entries=entries)
        else:
            with pytest.raises(ProjectBusyError, match="TRACKIO_SQLITE_JOURNAL_MODE=delete"):
                backend.deliver(entries=entries)
        dashboard.stdin.close()
    backend.deliver(entries=entries)
    assert read(case).values("loss") == [(0, 1.0)]


def test_a_parameter_that_changes_from_one_to_true_is_told(case: Case) -> None:
    case.run.add(Params(T0_NS, EVERY_BACKEND, {"amp": 1}))
    case.deliver(None)
    case.run.add(Params(T0_NS, EVERY_BACKEND, {"amp": True}))
    case.deliver("FINISHED")
    run = read(case)
    assert run.config["amp"] is True
    assert run.config["ranklog.changed.amp"] == "1; True in attempt 0"


@pytest.mark.slow
def test_a_script_needs_no_network_and_trackios_command_line_finds_its_run(tmp_path: Path) -> None:
    logger = TrackioLogger(tmp_path, "my exp", log_freq="batch", forward="thread", run_id="mine")
    with logger.start_logging():
        logger.log(0.5, "loss", step=3)
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HOME": str(tmp_path / "home")}
    command = [str(Path(sys.executable).with_name("trackio")), "get", "metric", "--project", "myexp", "--run", "mine"]
    done = subprocess.run(
        [*command, "--metric", "loss", "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [(value["step"], value["value"]) for value in json.loads(done.stdout)["values"]] == [(3, 0.5)]
    assert not (tmp_path / "home").exists()


def test_a_project_that_trackio_does_not_take_is_an_error_that_names_it(tmp_path: Path) -> None:
    options = {"savedir": str(tmp_path / "t"), "project_name": "registry-x"}
    run = Run(tmp_path / "run", BackendSpec(backend="trackio", options=options))
    with pytest.raises(InvalidArgumentError, match="project_name='registry-x' is not allowed"):
        create_backend("trackio").open(context=run.context())
