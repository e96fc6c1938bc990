"""A server that is down, hangs, refuses or dies costs training nothing, and has everything once in the end."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import wait_until

pytest.importorskip("mlflow")

from faulty_proxy import Fault, Handler, Proxy, die_after_delivery, drop, hang, refuse, too_large
from mlflow import MlflowClient

from ranklog import MLFlowLogger
from ranklog.delivery.lock import LockedError
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import Cursor, load_cursors
from ranklog.model.errors import RanklogWarning

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ranklog.model.errors.RanklogWarning")]

STEPS = 300
RUNS = 4


@pytest.fixture
def proxy(mlflow_port: int) -> Iterator[Proxy]:
    proxy = Proxy(mlflow_port)
    yield proxy
    proxy.stop()


def train(proxy: Proxy, savedir: Path, exit_timeout: float, **metrics: float) -> Path:
    logger = MLFlowLogger(savedir, experiment_name=savedir.name, tracking_uri=proxy.url)
    with logger.start_logging(exit_timeout=exit_timeout):
        for step in range(STEPS):
            logger.log_metrics({"loss": float(step), **metrics}, step=step)
        logger.save_hyperparameters({"lr": 0.1})
        return logger.run_dir


def pump_of(run_dir: Path) -> Pump:
    """The run's pump, once the forwarder of the training has let go of it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return Pump(run_dir, console=io.StringIO())
        except LockedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def sync(run_dir: Path) -> None:
    pump = pump_of(run_dir)
    try:
        for _ in pump.run(Finish(), tries=20):
            pass
    finally:
        pump.close()


def cursor(run_dir: Path) -> Cursor:
    ((_, found),) = load_cursors(run_dir)
    return found


def points(proxy: Proxy, run_dir: Path, name: str = "loss") -> list[tuple[int, float]]:
    history = MlflowClient(tracking_uri=proxy.url).get_metric_history(cursor(run_dir).known["run_id"], name)
    return [(metric.step, metric.value) for metric in history]


def is_complete(proxy: Proxy, run_dir: Path) -> bool:
    run = MlflowClient(tracking_uri=proxy.url).get_run(cursor(run_dir).known["run_id"])
    whole = points(proxy, run_dir) == [(step, float(step)) for step in range(STEPS)]
    return whole and run.info.status == "FINISHED" and run.data.params == {"lr": "0.1"}


@pytest.mark.parametrize(
    "fault",
    [drop, hang, refuse(500), refuse(503), refuse(401), refuse(429, Retry_After="1"), die_after_delivery],
    ids=["drops", "hangs", "500", "503", "401", "429", "dies in the midst of its answers"],
)
def test_training_ends_in_time_and_sync_makes_the_run_complete_once_the_server_is_well(
    fault: Fault, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.fault = fault
    run_dir = train(proxy, tmp_path, exit_timeout=2)
    proxy.fault = None
    proxy.released.set()
    sync(run_dir)
    assert is_complete(proxy, run_dir)


def test_a_server_that_only_a_proxy_of_the_environment_reaches_is_reached(
    proxy: Proxy, mlflow_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    logger = MLFlowLogger(tmp_path, experiment_name=tmp_path.name, tracking_uri="http://mlflow.invalid")
    with logger.start_logging(exit_timeout=120):
        logger.log(1.0, "loss", step=0)
        run_dir = logger.run_dir
    monkeypatch.delenv("http_proxy")
    client = MlflowClient(tracking_uri=f"http://127.0.0.1:{mlflow_port}")
    history = client.get_metric_history(cursor(run_dir).known["run_id"], "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 1.0)]


def test_a_sync_that_is_asked_to_slow_down_does_so_and_does_not_give_up(proxy: Proxy, tmp_path: Path) -> None:
    answered: list[float] = []

    def busy(handler: Handler, body: bytes) -> bool:
        answered.append(time.monotonic())
        return len(answered) <= 6 and refuse(429, Retry_After="0")(handler, body)

    logger = MLFlowLogger(tmp_path, experiment_name=tmp_path.name, tracking_uri=proxy.url, forward="later")
    with logger.start_logging():
        for step in range(STEPS):
            logger.log(float(step), "loss", step=step)
        logger.save_hyperparameters({"lr": 0.1})
        run_dir = logger.run_dir
    proxy.fault = busy
    pump = pump_of(run_dir)
    for _ in pump.run(Finish(), tries=1):
        pass
    pump.close()
    assert is_complete(proxy, run_dir)
    assert answered[6] - answered[0] > 0.5, "it waited longer from time to time"


def test_many_runs_of_one_user_are_synced_to_a_server_that_takes_few_requests_a_second(
    proxy: Proxy, tmp_path: Path
) -> None:
    taken: list[float] = []

    def limited(handler: Handler, body: bytes) -> bool:
        now = time.monotonic()
        if sum(now - each < 1.0 for each in taken) >= 3:
            return refuse(429, Retry_After="1")(handler, body)
        taken.append(now)
        return False

    runs = []
    for number in range(RUNS):
        logger = MLFlowLogger(
            tmp_path,
            experiment_name=tmp_path.name,
            tracking_uri=proxy.url,
            forward="later",
            run_id=f"array-{number}",
        )
        with logger.start_logging():
            logger.log(float(number), "loss", step=0)
            runs.append(logger.run_dir)
    proxy.fault = limited
    command = [sys.executable, "-m", "ranklog.cli", "sync", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    refused = len(proxy.requests) - len(taken)
    assert refused > 0, "the server did ask for patience"
    proxy.fault = None
    assert [points(proxy, run_dir) for run_dir in runs] == [[(0, float(number))] for number in range(RUNS)]


def test_a_server_that_comes_back_while_training_goes_on_has_everything_at_its_end(
    proxy: Proxy, tmp_path: Path
) -> None:
    refused: list[str] = []

    def at_first(handler: Handler, body: bytes) -> bool:
        refused.append("")
        return len(refused) < 4 and refuse(503)(handler, body)

    proxy.fault = at_first
    run_dir = train(proxy, tmp_path, exit_timeout=120)
    assert is_complete(proxy, run_dir)


def test_a_proxy_that_takes_only_small_requests_gets_small_ones(proxy: Proxy, tmp_path: Path) -> None:
    limit = 20_000
    proxy.fault = too_large(limit)
    names = {f"a_rather_long_name_of_a_metric_{i}": 1.0 for i in range(30)}
    run_dir = train(proxy, tmp_path, exit_timeout=60, **names)
    sync(run_dir)
    assert is_complete(proxy, run_dir)
    assert len(points(proxy, run_dir, "a_rather_long_name_of_a_metric_29")) == STEPS


def test_a_token_that_is_not_accepted_is_told_once_and_stays_in_the_list_of_runs(
    proxy: Proxy, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    proxy.fault = refuse(401)
    logger = MLFlowLogger(tmp_path, tracking_uri=proxy.url)
    with logger.start_logging(exit_timeout=1):
        logger.log(1.0, "loss", step=0)
        run_dir = logger.run_dir
        # On a busy machine the forwarder needs seconds before it asks for the first time.
        wait_until(lambda: any(found.error for _, found in load_cursors(run_dir)))
    told = [str(each.message) for each in recwarn if each.category is RanklogWarning]
    assert len([text for text in told if "401" in text]) == 1, told
    proxy.released.set()
    pump_of(run_dir).close()
    assert "401" in str(cursor(run_dir).error)


def test_metrics_that_the_server_refuses_are_set_aside_and_the_rest_goes_on(proxy: Proxy, tmp_path: Path) -> None:
    def picky(handler: Handler, body: bytes) -> bool:
        if b"poison" not in body:
            return False
        handler.answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "poison is not welcome"}')
        return True

    proxy.fault = picky
    logger = MLFlowLogger(tmp_path, experiment_name=tmp_path.name, tracking_uri=proxy.url)
    with logger.start_logging(exit_timeout=120):
        run_dir = logger.run_dir
        for step in range(STEPS):
            logger.log_metrics({"loss": float(step)}, step=step)
            if step == 100:
                logger.flush()
                logger.log_metrics({"poison": 1.0}, step=1000)
                logger.flush()
        logger.save_hyperparameters({"lr": 0.1})
    assert is_complete(proxy, run_dir)
    assert list(cursor(run_dir).refused.values()) == ["INVALID_PARAMETER_VALUE: poison is not welcome"]
