"""What an exception is about, asked with exceptions that the client libraries really raise."""

from __future__ import annotations

import errno
import http.server
import io
import json
import socket
import sqlite3
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from mlflow_database import place_database

from ranklog.backends.shared.trouble import Trouble, trouble_of
from ranklog.model.errors import InvalidArgumentError, MissingExtraError


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers each request with the status that its path begins with, and with an HTML page."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"<p/>")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a server that answers as asked."""
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture(scope="module")
def closed() -> str:
    """Address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


STATUSES: list[tuple[int, Trouble]] = [
    *((status, "reach") for status in (401, 403, 404, 408, 429, 502, 503, 504)),
    *((status, "record") for status in (400, 413, 422)),
    (500, "unclear"),
]


@pytest.mark.parametrize(("status", "about"), STATUSES)
def test_the_status_of_a_server_decides(server: str, status: int, about: Trouble) -> None:
    httpx = pytest.importorskip("httpx")
    requests = pytest.importorskip("requests")
    url = f"{server}/{status}"
    calls: list[Callable[[], object]] = [
        lambda: requests.get(url, timeout=9).raise_for_status(),
        lambda: httpx.get(url, timeout=9, trust_env=False).raise_for_status(),
        lambda: urllib.request.urlopen(url, timeout=9),
    ]
    for call in calls:
        error = raised(call)
        assert trouble_of(error) == about, repr(error)


@pytest.mark.parametrize(("status", "about"), STATUSES)
def test_mlflow_passes_the_status_on(server: str, monkeypatch: pytest.MonkeyPatch, status: int, about: Trouble) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    client = mlflow.MlflowClient(f"{server}/{status}")
    error = raised(lambda: client.log_batch("0" * 32, tags=[mlflow.entities.RunTag("a", "b")]))
    assert trouble_of(error) == about, repr(error)


def test_nobody_listens(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    mlflow = pytest.importorskip("mlflow")
    requests = pytest.importorskip("requests")
    urllib3 = pytest.importorskip("urllib3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    calls: list[Callable[[], object]] = [
        lambda: requests.get(closed, timeout=9),
        lambda: httpx.get(closed, timeout=9, trust_env=False),
        lambda: urllib3.PoolManager(retries=1).request("GET", closed),
        lambda: urllib.request.urlopen(closed, timeout=9),
        lambda: mlflow.MlflowClient(closed).get_run("0" * 32),
        lambda: socket.create_connection(("127.0.0.1", int(closed.rpartition(":")[2])), timeout=9),
        lambda: requests.get("http://no-such-host.invalid", timeout=9),
    ]
    for call in calls:
        error = raised(call)
        assert trouble_of(error) == "reach", repr(error)


def test_a_page_where_json_was_expected_is_not_the_records_fault(server: str) -> None:
    requests = pytest.importorskip("requests")
    assert trouble_of(raised(lambda: requests.get(f"{server}/200", timeout=9).json())) == "reach"
    refused = raised(lambda: requests.post(server, json={"loss": float("nan")}, timeout=9))
    assert trouble_of(refused) == "record"


def test_grpc_tells_by_its_code(closed: str) -> None:
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(closed.removeprefix("http://")) as channel:
        error = raised(lambda: channel.unary_unary("/a/b")(b"", timeout=5))
    assert trouble_of(error) == "reach", repr(error)


def test_a_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as first:
        first.execute("CREATE TABLE t (a INTEGER NOT NULL)")
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    other = sqlite3.connect(path, timeout=0)
    insert = "INSERT INTO t VALUES (?)"
    assert trouble_of(raised(lambda: other.execute(insert, (1,)))) == "reach"
    holder.rollback()
    (tmp_path / "no.db").write_bytes(b"no database " * 100)
    assert trouble_of(raised(lambda: sqlite3.connect(tmp_path / "no.db").execute("SELECT * FROM t"))) == "reach"
    assert trouble_of(raised(lambda: sqlite3.connect(tmp_path / "x" / "y.db"))) == "reach"
    for value in (None, 2**70, object(), "\ud83d"):
        error = raised(lambda value=value: other.execute(insert, (value,)))  # type: ignore[misc]
        assert trouble_of(error) == "record", repr(error)
    holder.close()
    other.close()


def test_mlflows_own_database(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{place_database(tmp_path / 'mlflow.db')}")
    run = client.create_run(client.create_experiment("e", artifact_location=tmp_path.as_uri()))
    assert trouble_of(raised(lambda: client.log_metric(run.info.run_id, "a\nb", 1.0))) == "record"
    holder = sqlite3.connect(tmp_path / "mlflow.db")
    holder.execute("ALTER TABLE metrics RENAME TO gone")
    holder.commit()
    holder.close()
    assert trouble_of(raised(lambda: client.log_metric(run.info.run_id, "a", 1.0))) == "reach"
    assert trouble_of(raised(lambda: client.get_run("0" * 32))) == "reach"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.ESTALE])
def test_a_disk_in_trouble_is_about_reaching(number: int) -> None:
    assert trouble_of(OSError(number, "?")) == "reach"


def test_contents() -> None:
    image = pytest.importorskip("PIL.Image")
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    calls: list[Callable[[], object]] = [
        lambda: "\ud83d".encode(),
        lambda: msgspec.json.encode("\ud83d"),
        lambda: msgspec.json.decode(b'"\\ud83d'),
        lambda: image.open(io.BytesIO(b"no picture")),
        lambda: json.dumps(deep),
        lambda: Path("x" * 5000).read_bytes(),
        lambda: {}["a"],
        lambda: Path("a\0b").read_bytes(),
    ]
    for call in calls:
        error = raised(call)
        assert trouble_of(error) == "record", repr(error)


def test_the_cause_behind_a_wrapper_decides() -> None:
    def wrapped() -> None:
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            raise RuntimeError("cannot store it")  # noqa: B904

    assert trouble_of(raised(wrapped)) == "reach"
    assert trouble_of(RuntimeError("boom")) == "record"
    error = RuntimeError("boom")
    error.__cause__ = error
    assert trouble_of(error) == "record"


@pytest.mark.parametrize(
    ("error", "about"),
    [
        (InvalidArgumentError("no API key"), "reach"),
        (MissingExtraError("pip install"), "reach"),
        (ModuleNotFoundError("plotly"), "reach"),
        (TimeoutError(), "reach"),
        (type("ServerSelectionTimeoutError", (Exception,), {"__module__": "pymongo.errors"})(), "reach"),
        (FileNotFoundError(errno.ENOENT, "gone"), "unclear"),
        (OSError("cannot write mode F as PNG"), "unclear"),
        (MemoryError(), "unclear"),
        (SystemExit(1), "unclear"),
        (RecursionError(), "record"),
    ],
    ids=repr,
)
def test_the_table(error: BaseException, about: Trouble) -> None:
    assert trouble_of(error) == about


def test_weights_and_biases_errors() -> None:
    errors = pytest.importorskip("wandb.errors")
    mailbox = pytest.importorskip("wandb.sdk.mailbox")
    assert trouble_of(errors.CommError("down")) == "reach"
    assert trouble_of(errors.AuthenticationError("key")) == "reach"
    assert trouble_of(mailbox.MailboxClosedError()) == "reach"
    assert trouble_of(errors.Error("?")) == "unclear"
    assert trouble_of(errors.UsageError("a bad name")) == "record"
