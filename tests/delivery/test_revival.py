"""A forwarder that is killed during training is replaced."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ranklog import TensorBoardLogger, create_logger
from ranklog.forwarding import supervisor
from ranklog.model.errors import RanklogWarning
from ranklog.view.query import RunView


def forwarders() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # that ended meanwhile, or was not waited for yet
            if "ranklog.delivery" in child.cmdline():
                found.append(child)
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ranklog.model.errors.RanklogWarning")
def test_records_logged_before_and_after_a_kill_are_delivered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CHECK_EVERY_S", 0.1)
    logger = TensorBoardLogger(tmp_path)
    with logger.start_logging(exit_timeout=60):
        run_dir = logger.run_dir
        for step in range(100):
            logger.log(float(step), "loss", step=step)
        assert logger.wait_delivered(60)
        (first,) = forwarders()
        first.kill()
        for step in range(100, 200):
            logger.log(float(step), "loss", step=step)
        assert logger.wait_delivered(60)
        (second,) = forwarders()
        assert second.pid != first.pid
    view = RunView(run_dir)
    assert view.summary.deliveries[0].status == "FINISHED"
    assert [event.code for event in view.events] == ["forwarder"]
    folder = view.summary.deliveries[0].known["folder"]
    found = EventAccumulator(folder, size_guidance={"scalars": 0}).Reload().Scalars("loss")
    assert [(point.step, point.value) for point in found] == [(step, float(step)) for step in range(200)]


@pytest.mark.slow
def test_a_forwarder_that_keeps_dying_is_not_restarted_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "CHECK_EVERY_S", 0.05)
    logger = TensorBoardLogger(tmp_path)
    with pytest.warns(RanklogWarning, match="restarting it"), logger.start_logging(exit_timeout=5):
        killed = set()
        while len(killed) < 2:
            for process in forwarders():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    killed.add(process.pid)
            time.sleep(0.02)
        logger.log(1.0, "loss", step=0)
        assert not logger.wait_delivered(2)
        assert not forwarders()


@pytest.mark.slow
def test_a_forwarder_that_died_before_close_is_replaced_by_one_that_delivers(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    with pytest.warns(RanklogWarning, match="another one delivers the rest"), logger.start_logging(exit_timeout=60):
        run_dir = logger.run_dir
        logger.log(1.0, "loss", step=0)
        assert logger.wait_delivered(60)
        (first,) = forwarders()
        logger.log(2.0, "loss", step=1)
        first.kill()
    assert RunView(run_dir).summary.deliveries[0].status == "FINISHED"
    (folder,) = (tmp_path / "tensorboard").iterdir()
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload().Scalars("loss")
    assert [(point.step, point.value) for point in found] == [(0, 1.0), (1, 2.0)]
    assert not forwarders()


DYING = """
import os, signal

class Dying:
    def open(self, *, context):
        os.kill(os.getpid(), signal.SIGKILL)

    def deliver(self, *, entries):
        pass

    def close(self, *, status, timeout_s):
        pass
"""


@pytest.mark.slow
def test_close_reports_why_it_starts_no_third_forwarder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = tmp_path / "packages"
    metadata = packages / "dying-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: dying\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[ranklog.backends]\ndying = dying:Dying\n")
    (packages / "dying.py").write_text(DYING)
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("PYTHONPATH", str(packages))
    logger = create_logger("dying", savedir=tmp_path / "logs", strategy="single")
    with pytest.warns(RanklogWarning) as said, logger.start_logging(exit_timeout=60):
        logger.log(1.0, "loss", step=0)
    told = [str(warning.message) for warning in said]
    assert any("another one delivers the rest" in text for text in told), told
    assert any("second forwarder process died as well" in text and "delivery.log" in text for text in told), told
    assert "ranklog sync" in capsys.readouterr().err
    assert not forwarders()
