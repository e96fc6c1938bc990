"""What MLflow cannot take now waits and is told with its cure; what it can never take is refused."""

from __future__ import annotations

import io
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_database import place_database

pytest.importorskip("mlflow")

from faulty_proxy import Handler, Proxy
from items import Run, metrics
from mlflow import MlflowClient
from mlflow_server import serve
from test_mlflow import Opened, make_run

from ranklog.abc import Refused
from ranklog.backends.mlflow.backend import MlflowBackend
from ranklog.backends.mlflow.trouble import MlflowUnavailableError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import Cursor, load_cursors
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.record import End

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def savedir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return place_database(tmp_path_factory.mktemp("mllogs") / "mlflow" / "mlflow.db").parent


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def opened(tmp_path: Path, savedir: Path) -> Opened:
    return Opened(make_run(tmp_path, savedir))


def sync(run: Run) -> Cursor:
    """Deliver what is left, with two tries; gives the cursor of the backend."""
    pump = Pump(run.dir, console=io.StringIO())
    try:
        for _ in pump.run(Finish(), tries=2):
            pass
    finally:
        pump.close()
    ((_, found),) = load_cursors(run.dir)
    return found


def points(cursor: Cursor, name: str = "loss") -> list[tuple[int, float]]:
    client = MlflowClient(cursor.known["tracking_uri"])
    return [(each.step, each.value) for each in client.get_metric_history(cursor.known["run_id"], name)]


def test_records_of_a_run_in_the_trash_wait_until_it_is_restored(tmp_path: Path, savedir: Path) -> None:
    run = make_run(tmp_path, savedir)
    run.add(metrics(0, {"loss": 0.0}))
    known = sync(run).known
    client = MlflowClient(known["tracking_uri"])
    client.delete_run(known["run_id"])
    run.add(*(metrics(step, {"loss": float(step)}) for step in (1, 2)), run.text("note", "kept"))
    waiting = sync(run)
    assert (waiting.next_ordinal, waiting.refused) == (2, {})
    assert f"mlflow runs restore --run-id {known['run_id']}" in str(waiting.error)
    client.restore_run(known["run_id"])
    done = sync(run)
    assert (done.error, done.refused) == (None, {})
    assert points(done) == [(0, 0.0), (1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("what", ["metrics", "alert", "text", "dataset", "close"])
def test_a_run_that_is_moved_to_the_trash_while_it_is_open_refuses_no_entry(opened: Opened, what: str) -> None:
    run = opened.run
    opened.client.delete_run(opened.id)
    with pytest.raises(MlflowUnavailableError, match="mlflow runs restore"):
        if what == "metrics":
            opened.log(metrics(0, {"loss": 1.0}), metrics(1, {"loss": 1.0}))
        elif what == "alert":
            opened.log(run.alert("boom", "x"), metrics(1, {"loss": 1.0}))
        elif what == "text":
            opened.log(run.text("note", "x"))
        elif what == "dataset":
            opened.log(run.dataset("train"))
        else:
            opened.backend.close(status="FINISHED", timeout_s=5)


def test_an_entry_that_mlflow_never_takes_is_still_refused(opened: Opened) -> None:
    bad, _ = opened.run.add(metrics(0, {"x": 1.0}), metrics(1, {"good": 1.0}))
    bad = bad.__class__(bad.ordinal, bad.segment, metrics(-(2**70), {"bad": 1.0}))
    with pytest.raises(Refused):
        opened.backend.deliver(entries=[bad])


def purge(opened: Opened) -> None:
    """What ``mlflow gc`` does to a run in the trash."""
    opened.client.delete_run(opened.id)
    opened.client._tracking_client.store._hard_delete_run(opened.id)


def test_a_run_that_is_gone_for_good_is_told_as_that_and_named_with_the_command_that_makes_a_new_one(
    tmp_path: Path, savedir: Path
) -> None:
    run = make_run(tmp_path, savedir)
    opened = Opened(run)
    sync(run)
    run.add(metrics(0, {"loss": 0.5}), End("FINISHED", 0))
    purge(opened)
    waiting = sync(run)
    assert waiting.refused == {}
    command = str(waiting.error).partition("`ranklog ")[2].partition("`")[0].split()
    assert command[0] == "sync"
    command[1] = str(run.dir)
    done = subprocess.run([sys.executable, "-m", "ranklog.cli", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [new] = [cursor for _, cursor in load_cursors(run.dir) if cursor.backend != "mlflow"]
    assert new.known["run_id"] != opened.id
    assert points(new) == [(0, 0.5)]


@pytest.mark.parametrize("what", ["metrics", "text"])
def test_a_run_that_goes_for_good_while_it_is_open_is_not_taken_for_an_entry_that_is_wrong(
    opened: Opened, what: str
) -> None:
    opened.log(opened.run.text("first", "x"))
    purge(opened)
    with pytest.raises(MlflowUnavailableError, match="--to mlflow="):
        opened.log(metrics(0, {"loss": 1.0}) if what == "metrics" else opened.run.text("note", "x"))


def test_a_run_id_that_never_was_is_a_wrong_argument(tmp_path: Path, savedir: Path) -> None:
    run = make_run(tmp_path, savedir, run_id="0" * 32)
    with pytest.raises(InvalidArgumentError, match="check run_id"):
        MlflowBackend().open(context=run.context())


def make_database(tmp_path: Path, version: str, gone: str = "") -> Path:
    """A database whose schema has another version than that of the MLflow here."""
    database = place_database(tmp_path / "own" / "mlflow.db")
    made = Opened(make_run(tmp_path, database.parent, "made"))
    made.backend.close(status="FINISHED", timeout_s=5)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
        if gone:
            connection.execute(f"DROP TABLE {gone}")
    return database


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["", "webhook_events"])
def test_a_database_of_a_newer_mlflow_asks_for_a_newer_one_here(tmp_path: Path, gone: str) -> None:
    database = make_database(tmp_path, "fedcba987654", gone)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from test_mlflow import make_run, MlflowBackend\n"
        "run = make_run(Path(sys.argv[2]), Path(sys.argv[3]), 'new')\n"
        "MlflowBackend().open(context=run.context())"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path), str(database.parent)]
    # Another process, because MLflow keeps the stores that it has opened.
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr.splitlines()[-1]
    assert "MlflowUnavailableError" in told
    assert "pip install --upgrade mlflow" in told


@pytest.mark.slow
def test_a_database_of_an_older_mlflow_is_told_in_mlflows_own_words(tmp_path: Path) -> None:
    database = make_database(tmp_path, "cfd24bdc0731")
    code = f"import mlflow; mlflow.MlflowClient('sqlite:///{database}')"
    from ranklog.backends.mlflow.trouble import explained

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    with pytest.raises(RuntimeError, match="mlflow db upgrade"), explained(""):
        raise RuntimeError(told)


@pytest.mark.slow
def test_a_server_that_refuses_its_host_name_is_told_with_the_option_that_helps(tmp_path: Path) -> None:
    with serve(tmp_path / "server", host="127.0.0.2") as port:
        run = make_run(tmp_path, tmp_path / "unused", tracking_uri=f"http://127.0.0.2:{port}")
        run.add(metrics(0, {"loss": 0.5}))
        waiting = sync(run)
    assert f"--allowed-hosts 127.0.0.2:{port}" in str(waiting.error)
    assert "token" not in str(waiting.error)
    assert (waiting.next_ordinal, waiting.refused) == (0, {})


PAGE = b"<html><body>Welcome to our network. Log in to go on.</body></html>"


@pytest.fixture
def proxy(mlflow_port: int) -> Iterator[Proxy]:
    proxy = Proxy(mlflow_port)
    yield proxy
    proxy.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "page"),
    [("metrics", PAGE), ("artifact", PAGE), ("artifact", b""), ("dataset", PAGE), ("model", PAGE)],
    ids=["metrics", "artifact", "artifact, empty page", "dataset", "model"],
)
def test_a_page_of_a_proxy_is_not_taken_for_an_answer_of_mlflow(
    proxy: Proxy, tmp_path: Path, what: str, page: bytes
) -> None:
    run = make_run(tmp_path, tmp_path / "unused", tracking_uri=proxy.url)
    sync(run)

    def captive(handler: Handler, body: bytes) -> bool:
        del body
        handler.answer(200, page, "text/html")
        return True

    def from_the_first_upload_on(handler: Handler, body: bytes) -> bool:
        if handler.command == "PUT":
            proxy.fault = captive
            return captive(handler, body)
        return False

    proxy.fault = from_the_first_upload_on if what == "artifact" else captive
    run.add(
        {
            "metrics": metrics(0, {"loss": 0.5}),
            "artifact": run.file("out.bin", b"bytes"),
            "dataset": run.dataset("train"),
            "model": run.folder("net", {"state_dict.pt": b"state"}, kind="model"),
        }[what]
    )
    waiting = sync(run)
    assert (waiting.next_ordinal, waiting.refused) == (1, {})
    assert "check tracking_uri, and whether a proxy asks for a login" in str(waiting.error)
    proxy.fault = None
    done = sync(run)
    assert (done.next_ordinal, done.refused, done.error) == (2, {}, None)
    if what == "artifact":
        client = MlflowClient(proxy.url)
        assert Path(client.download_artifacts(done.known["run_id"], "out.bin")).read_bytes() == b"bytes"


def test_a_server_that_does_not_run_is_named_with_the_reason_and_the_cure(tmp_path, savedir, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        run = make_run(tmp_path, savedir, tracking_uri=uri)
        with pytest.raises(MlflowUnavailableError) as raised:
            Opened(run)
    cure = "start it, or check tracking_uri"
    assert str(raised.value) == f"cannot reach the MLflow server at {uri} (connection refused): {cure}"
