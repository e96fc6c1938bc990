"""Identity of backends over attempts: each destination has its whole run after reordering, adding and removing."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mlflow_database import place_database

from ranklog import MLFlowLogger
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import Cursor, backends_of, cursor_path, load_cursors, save_cursor
from ranklog.journal.writer import JournalWriter
from ranklog.loggers import BackendLogger, LoggersCollection
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.identity import identity_of, place_of, with_identities
from ranklog.model.record import End, Metrics
from ranklog.model.spec import BackendSpec, Scalar
from ranklog.view.deliveries import deliveries_of


def front(backend: str, **options: Scalar) -> BackendSpec:
    return BackendSpec(backend=backend, options=options)


def identity(spec: BackendSpec, **environ: str) -> str:
    (own,) = with_identities([spec], environ)
    return own.id


@pytest.mark.parametrize(
    ("one", "other", "environ"),
    [
        (front("csv", savedir="logs/csv"), front("csv", savedir="{cwd}/logs/x/../csv"), {}),
        (
            front("mlflow", savedir="/s", tracking_uri="sqlite:///a.db", run_name="a", run_description="b"),
            front("mlflow", savedir="/t", tracking_uri=None, run_name="c", run_id="0"),
            {"MLFLOW_TRACKING_URI": "sqlite:///{cwd}/a.db"},
        ),
        (
            front("mlflow", savedir="/s", tracking_uri="https://Host:5000/"),
            front("mlflow", savedir="/s", tracking_uri=None),
            {"MLFLOW_TRACKING_URI": "https://ada:pw@host:5000"},
        ),
        (
            front("mlflow", savedir="/s", tracking_uri=None),
            front("mlflow", savedir="/s", tracking_uri="sqlite:////s/mlflow.db"),
            {},
        ),
        (front("wandb", project_name="p", savedir="/a"), front("wandb", project_name="p", savedir="/b", tags="x"), {}),
        (front("of-others", host="a", notes="one"), front("of-others", host="a", notes="two"), {}),
        (
            front("opentelemetry", savedir="/s", endpoint="http://a/"),
            front("opentelemetry", savedir="/s", endpoint="http://A"),
            {},
        ),
    ],
)
def test_one_destination_is_one_identity_however_it_is_given(
    one: BackendSpec, other: BackendSpec, environ: dict[str, str], tmp_path: Path
) -> None:
    def here(value: Scalar) -> Scalar:
        return value.format(cwd=tmp_path) if isinstance(value, str) else value

    other = msgspec.structs.replace(other, options={name: here(value) for name, value in other.options.items()})
    said = {name: value.format(cwd=tmp_path) for name, value in environ.items()}
    assert identity(one) == identity(other, **said)
    assert "pw" not in repr(with_identities([other], said)) + repr(place_of(other, said))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (front("csv", savedir="/a"), front("csv", savedir="/b")),
        (front("csv", savedir="/a"), front("console", savedir="/a")),
        (
            front("mlflow", savedir="/a", tracking_uri="http://a"),
            front("mlflow", savedir="/a", tracking_uri="http://b"),
        ),
        (
            front("mlflow", tracking_uri="http://a", experiment_name="x"),
            front("mlflow", tracking_uri="http://a", experiment_name="y"),
        ),
        (front("trackio", savedir="/a", project_name="x"), front("trackio", savedir="/a", project_name="y")),
        (front("wandb", project_name="p"), front("wandb", project_name="p", offline_mode=True)),
        (front("of-others", host="a"), front("of-others", host="b")),
    ],
)
def test_two_destinations_are_two_identities(one: BackendSpec, other: BackendSpec) -> None:
    assert identity(one) != identity(other)
    assert identity_of(one) != identity_of(other)


def test_two_backends_with_one_destination_are_refused(tmp_path: Path) -> None:
    each = [BackendLogger("csv", {"savedir": folder}, savedir=tmp_path) for folder in ("a", str(tmp_path / "a"))]
    with pytest.raises(InvalidArgumentError, match=r"two csv backends .*savedir='.*/a'.*give each its own"):
        LoggersCollection(each).create_logger_context()


def logged(folder: Path) -> list[int]:
    """Steps in the one run of a CSV folder."""
    found = list(folder.glob("*/metrics.csv"))
    if not found:
        return []
    with found[0].open() as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["name"] == "loss"]


def sync(run_dir: Path) -> int:
    command = [sys.executable, "-m", "ranklog.cli", "sync", str(run_dir)]
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode


LISTS = [("one", "two"), ("three", "two"), ("two", "four", "one")]
WHOLE = {"one": [0, 2], "two": [0, 1, 2], "three": [0, 1], "four": [0, 1, 2]}
"""Who is there in an attempt gets it; who is new also what came before."""


@pytest.mark.slow
@pytest.mark.parametrize("forward", ["process", "thread", "later"])
def test_backends_of_one_kind_can_be_reordered_added_and_removed_over_three_attempts(
    tmp_path: Path, forward: Any
) -> None:
    for step, names in enumerate(LISTS):
        each = [
            BackendLogger("csv", {"savedir": str(tmp_path / name)}, savedir=tmp_path, run_id="r", forward=forward)
            for name in names
        ]
        logger = LoggersCollection(each)
        with logger.start_logging():
            logger.log(float(step), "loss", step=step)
            assert forward == "later" or logger.wait_delivered(60)
    run_dir = tmp_path / "runs" / "r"
    if forward == "later":
        waiting = {d.backend: d.waiting for d in deliveries_of(run_dir)}
        assert list(waiting) == ["csv", "csv-2", "csv-3", "csv-4"] and all(waiting.values())
        assert sync(run_dir) == 0
    assert {name: logged(tmp_path / name) for name in WHOLE} == WHOLE
    assert all(d.has_all and d.status == "FINISHED" for d in deliveries_of(run_dir))
    status = {name: json.loads((tmp_path / name / "r" / "run.json").read_text())["status"] for name in WHOLE}
    assert set(status.values()) == {"FINISHED"}
    assert sync(run_dir) == 0


@pytest.mark.slow
def test_prune_keeps_a_run_that_a_second_backend_of_one_kind_lacks(tmp_path: Path) -> None:
    each = [
        BackendLogger("csv", {"savedir": str(tmp_path / name)}, savedir=tmp_path, run_id="r", forward="later")
        for name in ("one", "two")
    ]
    logger = LoggersCollection(each)
    with logger.start_logging():
        logger.log(1.0, "loss", step=0)
    pump = Pump(logger.run_dir)
    pump.feeds = pump.feeds[:1]
    assert list(pump.run(Finish()))
    pump.close()
    command = [sys.executable, "-m", "ranklog.cli", "prune", str(tmp_path / "runs"), "--older-than", "0", "--yes"]
    done = subprocess.run([*command, "--json"], check=False, capture_output=True, text=True, timeout=60)
    (found,) = json.loads(done.stdout)
    assert "csv-2 does not have all records" in found["kept"] and logger.run_dir.is_dir()
    assert sync(logger.run_dir) == 0
    subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert not logger.run_dir.exists() and logged(tmp_path / "two") == [0]


def test_a_backend_that_a_later_attempt_does_not_use_is_closed(tmp_path: Path, start_attempt: Any) -> None:
    one, two = front("csv", savedir=str(tmp_path / "one")), front("csv", savedir=str(tmp_path / "two"))
    start_attempt(backends=(one,)).append([Metrics(0, 0, -1, {"loss": 1.0})])  # and is killed
    start_attempt(backends=(two,), attempt=1).append([Metrics(1, 1, -1, {"loss": 1.0}), End("FINISHED", 1)])
    deliver(tmp_path / "run-a")
    assert (logged(tmp_path / "one"), logged(tmp_path / "two")) == ([0], [0, 1])
    assert [d.status for d in deliveries_of(tmp_path / "run-a")] == ["KILLED", "FINISHED"]


def deliver(run_dir: Path) -> None:
    pump = Pump(run_dir, console=io.StringIO())
    for feed in pump.run(Finish()):
        assert feed.cursor.error is None
    pump.close()


class TestOlderVersions:
    """Runs of versions without identities: fronts without an id, cursors named by place in the list and by name."""

    @staticmethod
    def fronts(tmp_path: Path, names: Sequence[str], backend: str = "csv") -> tuple[BackendSpec, ...]:
        return tuple(front(backend, savedir=str(tmp_path / name)) for name in names)

    @staticmethod
    def old_cursor(run_dir: Path, index: int, cursor: Cursor) -> Path:
        """A cursor without the fields of today."""
        save_cursor(run_dir, index, cursor)
        path = cursor_path(run_dir, index, cursor.backend)
        old = json.loads(path.read_text())
        for name in ("id", "place", "stuck"):
            del old[name]
        path.write_text(json.dumps(old))
        return path

    def test_a_cursor_is_adopted_whatever_the_backends_position_in_the_list(
        self, tmp_path: Path, start_attempt: Any
    ) -> None:
        board = front("console", savedir=str(tmp_path / "board"))
        table = front("csv", savedir=str(tmp_path / "table"))
        run_dir = tmp_path / "run-a"
        start_attempt(backends=(board, table)).append([Metrics(0, 0, -1, {"loss": 1.0}), End("FAILED", 0)])
        start_attempt(backends=(table,), attempt=1).append([Metrics(1, 1, -1, {"loss": 1.0}), End("FINISHED", 1)])
        self.old_cursor(run_dir, 0, Cursor(backend="console", next_ordinal=3, status="FAILED"))
        old = self.old_cursor(run_dir, 1, Cursor(backend="csv", next_ordinal=4, known={"run_id": "x"}))
        before = {d.backend: d.waiting for d in deliveries_of(run_dir)}
        assert before == {"console": 0, "csv": 2}
        assert load_cursors(run_dir)[1][1].id == "" and old.exists(), "looking changes nothing"
        deliver(run_dir)
        found = load_cursors(run_dir)
        assert [(index, c.backend, bool(c.id)) for index, c in found] == [(0, "console", True), (1, "csv", True)]
        assert found[1][1].status == "FINISHED"

    def test_ambiguous_cursors_of_backends_of_one_kind_are_not_adopted(
        self, tmp_path: Path, start_attempt: Any
    ) -> None:
        run_dir = tmp_path / "run-a"
        start_attempt(backends=self.fronts(tmp_path, ("one", "two"))).append(
            [Metrics(0, 0, -1, {"loss": 1.0}), End("FINISHED", 0)]
        )
        for index in (0, 1):
            self.old_cursor(run_dir, index, Cursor(backend="csv", next_ordinal=3, status="FINISHED"))
        assert [d.has_all for d in deliveries_of(run_dir)] == [False, False]
        deliver(run_dir)
        assert (logged(tmp_path / "one"), logged(tmp_path / "two")) == ([0], [0])
        assert [c.backend for _, c in load_cursors(run_dir)] == ["csv", "csv-2"]

    def test_a_changed_destination_gets_the_whole_run_and_the_old_cursor_stays(
        self, tmp_path: Path, start_attempt: Any
    ) -> None:
        run_dir = tmp_path / "run-a"
        for attempt, name in enumerate(("one", "two")):
            writer: JournalWriter = start_attempt(backends=self.fronts(tmp_path, (name,)), attempt=attempt)
            writer.append([Metrics(attempt, attempt, -1, {"loss": 1.0}), End("FINISHED", 0)])
        self.old_cursor(run_dir, 0, Cursor(backend="csv", next_ordinal=3, status="FINISHED"))
        deliver(run_dir)
        assert logged(tmp_path / "two") == [0, 1]
        assert not (tmp_path / "one").exists(), "it was delivered before"


@pytest.mark.slow
class TestMlflow:
    """With MLflow's own database as the server."""

    @pytest.fixture(autouse=True)
    def _databases(self, tmp_path: Path) -> None:
        for name in "ab":
            place_database(tmp_path / f"{name}.db")

    @staticmethod
    def steps(tmp_path: Path, name: str) -> list[int]:
        mlflow = pytest.importorskip("mlflow")
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/{name}.db")
        runs = [run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])]
        assert len(runs) <= 1, "one run on each server"
        return [m.step for run in runs for m in client.get_metric_history(run.info.run_id, "loss")]

    @pytest.mark.parametrize("how", ["argument", "environment"])
    def test_a_run_resumed_with_another_server_goes_there_completely_with_ids_of_the_new_server(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        ids = []
        for step, name in enumerate("ab"):
            uri = f"sqlite:///{tmp_path}/{name}.db"
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri if how == "environment" else "")
            logger = MLFlowLogger(tmp_path, run_id="r", tracking_uri=uri if how == "argument" else None)
            with logger.start_logging():
                logger.log(float(step), "loss", step=step)
                assert logger.wait_delivered(60)
                ids.append((logger.run_id, logger.experiment_id))
        assert ids[0][0] != ids[1][0]
        assert (self.steps(tmp_path, "a"), self.steps(tmp_path, "b")) == ([0], [0, 1])
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert sync(tmp_path / "runs" / "r") == 0
        assert not (tmp_path / "mlflow" / "mlflow.db").exists(), "a sync without the variable keeps to the place"

    def test_two_servers_at_once_have_the_same(self, tmp_path: Path) -> None:
        each = [
            BackendLogger(
                "mlflow",
                {"savedir": str(tmp_path / name), "tracking_uri": f"sqlite:///{tmp_path}/{name}.db"},
                savedir=tmp_path,
            )
            for name in "ab"
        ]
        logger = LoggersCollection(each)
        with logger.start_logging():
            logger.log(1.0, "loss", step=7)
            assert logger.wait_delivered(60)
            assert each[0].run_id != each[1].run_id
        assert (self.steps(tmp_path, "a"), self.steps(tmp_path, "b")) == ([7], [7])

    def test_later_syncs_keep_the_destination_of_the_first_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logger = MLFlowLogger(tmp_path, run_id="r", forward="later")
        with logger.start_logging():
            logger.log(1.0, "loss", step=0)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/a.db")
        assert sync(logger.run_dir) == 0
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        logger = MLFlowLogger(tmp_path, run_id="r", forward="later")
        with logger.start_logging():
            logger.log(1.0, "loss", step=1)
        assert sync(logger.run_dir) == 0
        assert self.steps(tmp_path, "a") == [0, 1]

    def test_a_user_in_an_address_of_the_environment_is_not_written_to_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:c4n4ry@127.0.0.1:9")
        logger = MLFlowLogger(tmp_path, run_id="r", forward="thread")
        with logger.start_logging(exit_timeout=1):
            logger.log(1.0, "loss", step=0)
            assert not logger.wait_delivered(1)
        assert backends_of(logger.run_dir)[0].spec.options["tracking_uri"] == "http://127.0.0.1:9"
        for path in logger.run_dir.rglob("*"):
            assert path.is_dir() or b"c4n4ry" not in path.read_bytes(), path
        assert os.environ["MLFLOW_TRACKING_URI"]


def test_weights_and_biases_online_after_offline_is_another_destination_of_the_same_backend(
    tmp_path: Path, start_attempt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_poison import Store

    store = Store("cut", {})
    start_attempt(backends=(front("wandb", project_name="p", savedir=str(tmp_path)),)).append(
        [Metrics(0, 0, -1, {"loss": 1.0})]
    )
    for mode in ("offline", "online", "online"):
        monkeypatch.setenv("WANDB_MODE", mode)
        pump = Pump(tmp_path / "run-a", console=io.StringIO(), create=store.create)
        pump.run_once()
        ((_, cursor),) = load_cursors(tmp_path / "run-a")
        assert cursor.place["mode"] == mode
        pump.close()
    assert (store.opened, store.kept) == (2, [0, 1])
