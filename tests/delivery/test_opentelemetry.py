"""What the OpenTelemetry backend sends, as a stand-in receiver decodes it (`otlp_receiver`)."""

import json
import logging
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from items import T0_NS, Run, metrics
from otlp_receiver import Receiver, rejecting, shared
from test_conformance import Case

from ranklog import OpenTelemetryLogger
from ranklog.abc import Refused
from ranklog.backends.opentelemetry.backend import OpenTelemetryBackend
from ranklog.backends.opentelemetry.sender import ReceiverError
from ranklog.delivery.retry import asked_wait, is_throttled
from ranklog.journal.cursor import load_cursor
from ranklog.model.errors import InvalidArgumentError
from ranklog.model.facts import Git, JobFacts
from ranklog.model.record import EVERY_BACKEND, Coverage, End, Entry, Event, MetricInfo, Params
from ranklog.model.spec import BackendSpec

CODE = Git("abc123", "main", False, "https://git.example/lab")
JOB = JobFacts(T0_NS, ("train.py",), "/work", {}, CODE, "slurm", {"job": "77"})


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case("opentelemetry", tmp_path / "opentelemetry", tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    own = Receiver()
    yield own
    own.close()


class Direct:
    """A backend that a test drives by itself, with a receiver of its own."""

    def __init__(self, receiver: Receiver, folder: Path) -> None:
        self.savedir = folder / "files"
        options = {"savedir": str(self.savedir), "endpoint": receiver.endpoint}
        self.run = Run(folder / "run", BackendSpec(backend="opentelemetry", options=options))
        self.backend = OpenTelemetryBackend()
        self.backend.open(context=self.run.context())

    def values(self, receiver: Receiver, name: str = "loss") -> list[float]:
        return [value for _, _, value in receiver.series("run-1", name)]


@pytest.fixture
def direct(receiver: Receiver, tmp_path: Path) -> Iterator[Direct]:
    own = Direct(receiver, tmp_path)
    yield own
    own.backend.close(status=None, timeout_s=1.0)


def test_a_value_is_a_point_at_its_time_and_its_series_has_no_step_in_it(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-training")
    case.run.add(
        JOB,
        MetricInfo(T0_NS, EVERY_BACKEND, "acc", "max", "validation"),
        metrics(5, {"acc": 0.5, "nan": math.nan, "inf": -math.inf}, coverage=Coverage(3, 4, 2)),
        metrics(6, {"acc/rank_003": 0.25}),
        metrics(6, {"95%": 1.0}, later_ms=1),
        metrics(6, {"95%": 2.0}, later_ms=1, corrects=True),
    )
    case.deliver("FINISHED")
    receiver, run = shared(), case.run_id
    own = {"ranklog.run_id": run, "ranklog.experiment": "exp", "ranklog.attempt": 0}
    assert receiver.series(run, "acc") == [
        ({**own, "ranklog.op": "mean"}, T0_NS + 5 * 10**9, 0.5),
        ({**own, "ranklog.rank": 3}, T0_NS + 6 * 10**9, 0.25),
    ]
    assert math.isnan(receiver.series(run, "nan")[0][2]) and receiver.series(run, "inf")[0][2] == -math.inf
    assert receiver.series(run, "ranklog.coverage") == [(own, T0_NS + 5 * 10**9, 0.75)]
    assert receiver.series(run, "ranklog.contributed") == [(own, T0_NS + 5 * 10**9, 0.5)]
    assert [step for _, _, step in receiver.series(run, "ranklog.step")] == [5, 6, 6, 6]
    assert [(each["ranklog.name"], value) for each, _, value in receiver.series(run, "metric.95_x0025_")] == [
        ("95%", 1.0),
        ("95%", 2.0),
    ]
    assert receiver.descriptions["acc"] == "larger is better, context validation"
    resource = receiver.resources["acc"]
    assert (resource["service.name"], resource["service.instance.id"]) == ("my-training", run)
    assert (resource["host.name"], resource["ranklog.version"]) == ("host", "0.1.0")
    assert (resource["ranklog.job_id"], resource["ranklog.scheduler"]) == ("77", "slurm")
    assert resource["vcs.ref.head.revision"] == "abc123"
    assert resource["vcs.repository.url.full"] == "https://git.example/lab"


def test_what_is_no_number_is_a_log_record_with_its_severity(case: Case) -> None:
    case.run.add(
        Params(T0_NS, EVERY_BACKEND, {"lr": 0.1, "none": None, "big": 2**64 - 1}),
        Event("warning", "first-nan", "loss is nan", T0_NS, rank=1, step=4),
        case.run.alert("boom", "out of memory", level="error", step=3),
        End("FAILED", T0_NS, "killed by the kernel"),
    )
    case.deliver(None)
    receiver, run = shared(), case.run_id
    assert [body for _, body, _ in receiver.said(run, "params")] == [{"lr": 0.1, "none": None, "big": str(2**64 - 1)}]
    ((severity, body, own),) = receiver.said(run, "event")
    assert (severity, body, own["ranklog.code"]) == ("WARN", "loss is nan", "first-nan")
    assert (own["ranklog.rank"], own["ranklog.step"]) == (1, 4)
    assert [(severity, body) for severity, body, _ in receiver.said(run, "alert")] == [("ERROR", "out of memory")]
    assert [(severity, body) for severity, body, _ in receiver.said(run, "end")] == [("ERROR", "killed by the kernel")]
    ((severity, body, own),) = receiver.said(run, "status")
    assert (severity, body, own["ranklog.status"]) == ("ERROR", f"run {run} FAILED", "FAILED")
    facts = json.loads((case.savedir / run / "run.json").read_text())
    assert (facts["status"], facts["params"]["lr"], facts["ranklog.reason"]) == ("FAILED", 0.1, "killed by the kernel")


def test_what_is_sent_again_is_one_point_and_a_record_that_can_be_told_to_be_the_same(case: Case) -> None:
    case.run.add(metrics(0, {"loss": 0.5}), case.run.text("note", "hello"))
    case.deliver(None)
    case.forget(1)
    case.run.add(metrics(1, {"loss": 0.25}))
    case.deliver("FINISHED")
    assert [value for _, _, value in shared().series(case.run_id, "loss")] == [0.5, 0.25]
    uids = [own["log.record.uid"] for _, _, own in shared().said(case.run_id)]
    assert (
        len(uids) == len(set(uids)) + 1 and uids.count(shared().said(case.run_id, "text")[0][2]["log.record.uid"]) == 2
    )


def test_an_attempt_that_goes_back_is_a_series_of_its_own(case: Case) -> None:
    case.run.add(*(metrics(step, {"loss": float(step)}) for step in range(3)))
    case.run.add(
        msgspec.structs.replace(case.run.attempt, attempt=1, host="other"), metrics(1, {"loss": 10.0}, later_ms=9000)
    )
    case.deliver("FINISHED")
    found = [(own["ranklog.attempt"], value) for own, _, value in shared().series(case.run_id, "loss")]
    assert found == [(0, 0.0), (0, 1.0), (0, 2.0), (1, 10.0)]
    assert shared().resources["loss"]["host.name"] == "other"
    assert shared().said(case.run_id, "status")[0][2]["ranklog.superseded.1"] == "loss from step 1"


@pytest.mark.parametrize("whole", [True, False], ids=["400", "partial success"])
def test_only_the_points_that_a_receiver_never_takes_are_set_aside(case: Case, whole: bool) -> None:
    def too_old(path: str, request: Any) -> tuple[int, bytes] | None:
        if path != "/v1/metrics":
            return None
        scopes = [scope for each in request.resource_metrics for scope in each.scope_metrics]
        gauges = [metric.gauge for scope in scopes for metric in scope.metrics]
        old = [p for gauge in gauges for p in gauge.data_points if p.time_unix_nano < T0_NS + 3 * 10**9]
        if not old:
            return None
        return (400, b"out of bounds") if whole else rejecting(len(old), "too old")

    shared().answer = too_old
    try:
        case.run.add(*(metrics(step, {"loss": float(step)}) for step in range(9)), case.run.text("note", "hello"))
        case.deliver("FINISHED")
    finally:
        shared().answer = lambda path, request: None
    refused = load_cursor(case.run.dir, 0, "opentelemetry").refused
    assert sorted(map(int, refused)) == [1, 2, 3]
    assert all(("out of bounds" if whole else "too old") in reason for reason in refused.values())
    assert [value for _, _, value in shared().series(case.run_id, "loss")] == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert len(shared().said(case.run_id, "text")) == 1


def test_one_point_that_is_refused_among_many_is_found_in_few_requests(direct: Direct, receiver: Receiver) -> None:
    bad = (T0_NS + 37 * 10**9).to_bytes(8, "little")
    receiver.answer = lambda path, request: (400, b"no") if bad in request.SerializeToString() else None
    with pytest.raises(Refused) as raised:
        direct.backend.deliver(entries=direct.run.add(*(metrics(step, {"loss": float(step)}) for step in range(64))))
    assert raised.value.ordinals == (38,) and len(direct.values(receiver)) == 63
    assert len(receiver.headers) == 13


def test_a_receiver_that_refuses_every_record_does_not_hold_up_the_end(case: Case) -> None:
    shared().answer = lambda path, request: (400, b"no") if path == "/v1/logs" else None
    try:
        case.run.add(metrics(0, {"loss": 1.0}))
        case.deliver("FINISHED")
    finally:
        shared().answer = lambda path, request: None
    cursor = load_cursor(case.run.dir, 0, "opentelemetry")
    assert cursor.status == "FINISHED" and list(cursor.refused) == ["0"]
    assert [value for _, _, value in shared().series(case.run_id, "loss")] == [1.0]


@pytest.mark.parametrize(
    "page", [b"<html>Welcome to our network</html>", b"\n<!DOCTYPE html>", b"Log in first", b'{"not": "closed'], ids=str
)
def test_a_page_of_a_proxy_is_no_answer_of_a_receiver(direct: Direct, receiver: Receiver, page: bytes) -> None:
    receiver.answer = lambda path, request: (200, page)
    entries = direct.run.add(metrics(0, {"loss": 1.0}), direct.run.text("note", "hello"))
    with pytest.raises(ReceiverError, match="check the endpoint, and whether a proxy asks for a login"):
        direct.backend.deliver(entries=entries)
    receiver.answer = lambda path, request: None
    direct.backend.deliver(entries=entries)
    assert direct.values(receiver) == [1.0] and len(receiver.said("run-1", "text")) == 1


@pytest.mark.parametrize("body", [b"{}", b'{"partialSuccess": {}}', b'{"partialSuccess": {"errorMessage": "a hint"}}'])
def test_a_receiver_that_answers_in_json_took_what_was_sent(direct: Direct, receiver: Receiver, body: bytes) -> None:
    receiver.answer = lambda path, request: (200, body)
    direct.backend.deliver(entries=direct.run.add(metrics(0, {"loss": 1.0}), direct.run.text("note", "hello")))
    assert [path for path, _ in receiver.headers] == ["/v1/metrics", "/v1/logs"]


@pytest.mark.parametrize(("path", "field"), [("/v1/metrics", "rejectedDataPoints"), ("/v1/logs", "rejectedLogRecords")])
def test_what_a_receiver_rejects_in_json_is_set_aside(
    direct: Direct, receiver: Receiver, path: str, field: str
) -> None:
    body = json.dumps({"partialSuccess": {field: "1", "errorMessage": "too old"}}).encode()
    receiver.answer = lambda asked, request: (200, body) if asked == path else None
    entries = direct.run.add(metrics(0, {"loss": 1.0}), direct.run.text("note", "hello"))
    with pytest.raises(Refused, match="1 of them: too old") as raised:
        direct.backend.deliver(entries=entries)
    assert raised.value.ordinals == (entries[path == "/v1/logs"].ordinal,)


def test_requests_stay_small(direct: Direct, receiver: Receiver) -> None:
    many = {f"m{number}": 1.0 for number in range(2500)}
    direct.backend.deliver(entries=direct.run.add(*(metrics(step, many) for step in range(3))))
    direct.backend.deliver(entries=direct.run.add(*(direct.run.text(f"t{n}", "x" * 30_000) for n in range(40))))
    sizes = [int(headers["content-length"]) for _, headers in receiver.headers]
    assert len(direct.values(receiver, "m2499")) == 3 and len(receiver.said("run-1", "text")) == 40
    assert len(sizes) == 5 and max(sizes) < 2_000_000


def test_a_receiver_that_takes_points_but_not_records_gets_the_points_once(direct: Direct, receiver: Receiver) -> None:
    receiver.answer = lambda path, request: (500, b"broken") if path == "/v1/logs" else None
    entries: list[Entry] = direct.run.add(
        metrics(0, {"loss": 0.0}), msgspec.structs.replace(direct.run.attempt, attempt=1), metrics(1, {"loss": 1.0})
    )
    with pytest.raises(ReceiverError, match="500"):
        direct.backend.deliver(entries=entries)
    receiver.answer = lambda path, request: None
    direct.backend.deliver(entries=entries)
    assert [path for path, _ in receiver.headers].count("/v1/metrics") == 1
    assert [own["ranklog.attempt"] for own, _, _ in receiver.series("run-1", "loss")] == [0, 1]


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "OTEL_EXPORTER_OTLP_HEADERS"), (404, "OTEL_LOGS_EXPORTER=none"), (302, "302"), (500, "500")],
)
def test_an_answer_that_is_no_yes_is_an_error_that_says_what_helps(
    direct: Direct, receiver: Receiver, status: int, says: str
) -> None:
    receiver.answer = lambda path, request: (status, b"no")
    with pytest.raises(ReceiverError, match=says) as raised:
        direct.backend.deliver(entries=direct.run.add(metrics(0, {"loss": 1.0})))
    assert receiver.endpoint in str(raised.value) and not is_throttled(raised.value)


def test_a_receiver_that_asks_for_patience_gets_it(direct: Direct, receiver: Receiver) -> None:
    receiver.answer = lambda path, request: (429, b"slow down")
    with pytest.raises(ReceiverError) as raised:
        direct.backend.deliver(entries=direct.run.add(metrics(0, {"loss": 1.0})))
    assert is_throttled(raised.value) and asked_wait(raised.value) == 30.0


def test_a_receiver_that_is_away_is_said_and_nothing_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    gone = Receiver()
    gone.close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own would take what is printed without any
    before = set(threading.enumerate())
    own = Direct(gone, tmp_path)
    with pytest.raises(ReceiverError, match="cannot reach"):
        own.backend.deliver(entries=own.run.add(metrics(0, {"loss": 1.0})))
    own.backend.close(status=None, timeout_s=1.0)
    assert set(threading.enumerate()) <= before
    assert capfd.readouterr() == ("", "")


def test_keys_come_from_the_environment_and_are_in_no_file(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20s3cret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    logger = OpenTelemetryLogger(tmp_path / "logs", log_freq="batch", forward="thread", run_id="run-1")
    with logger.start_logging():
        logger.log(0.5, "loss", step=3)
        logger.log("hello", "note", kind="text", step=3)
    assert [(own["ranklog.run_id"], value) for own, _, value in receiver.series("run-1", "loss")] == [("run-1", 0.5)]
    assert [body for _, body, _ in receiver.said("run-1", "text")] == ["hello"]
    assert {headers["authorization"] for _, headers in receiver.headers} == {"Bearer s3cret"}
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_long_text_is_whole_in_a_file_and_without_logs_every_text_is(
    direct: Direct, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct.backend.deliver(entries=direct.run.add(direct.run.text("long", "x" * 50_000)))
    ((_, body, own),) = receiver.said("run-1", "text")
    assert len(body) == 32 * 1024 and Path(own["file.path"]).read_text() == "x" * 50_000
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    receiver.records.clear()
    quiet = Direct(receiver, tmp_path / "quiet")
    quiet.backend.deliver(entries=quiet.run.add(quiet.run.alert("boom", "it burns"), metrics(0, {"loss": 1.0})))
    quiet.backend.close(status="FINISHED", timeout_s=1.0)
    assert not receiver.records and quiet.values(receiver) == [1.0]
    assert (quiet.savedir / "run-1/artifacts/boom.txt").read_text() == "it burns"


@pytest.mark.parametrize("endpoint", ["collector:4317", "http://ada:pw@collector:4318", "http://collector:4318?key=pw"])
def test_an_endpoint_that_is_no_address_or_holds_a_password_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        OpenTelemetryLogger(endpoint=endpoint)
    assert "pw" not in str(raised.value).replace("password", "")
