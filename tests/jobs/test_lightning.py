"""SIGTERM ends a Lightning training in Lightning's own way, also when a logger was opened before ``fit``."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launch import job_environment

from ranklog.testing import captured, series
from ranklog.view.query import RunView

LIGHTNING = Path(sys.prefix) / "lightning"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not LIGHTNING.exists() and os.environ.get("CI", "").lower() != "true",
        reason="scripts/setup-runtimes.sh installs Lightning",
    ),
]


def start(logger: str, savedir: Path) -> subprocess.Popen[str]:
    job = Path(__file__).with_name("lightning_job.py")
    process = subprocess.Popen(
        [sys.executable, str(job), str(savedir), logger],
        env=job_environment(PYTHONPATH=str(LIGHTNING)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line == "ready\n":
            return process
    raise AssertionError(f"the training ended with status {process.wait()}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def test_lightning_ends_at_sigterm_as_without_a_logger_and_everything_logged_is_in_the_journal(tmp_path: Path) -> None:
    without, logging = start("without", tmp_path), start("with", tmp_path)
    try:
        expected = ended(without)
        assert expected == (0, "on_exception SIGTERMException\nafter fit\n")
        assert ended(logging) == expected
    finally:
        for process in (without, logging):
            process.kill()
    run = RunView(tmp_path / "runs" / "lightning")
    assert run.summary.status == "FINISHED"
    loss = series(captured(tmp_path / "runs" / "lightning"), "loss")
    assert list(loss) == list(range(len(loss)))
    assert len(loss) > 10
