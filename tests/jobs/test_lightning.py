"""SIGTERM ends a Lightning training in Lightning's own way, also when a logger was opened before ``fit``."""

import os
import signal
import sys
from pathlib import Path

import pytest
from fork_server import Forked
from fork_server import server as fork_server
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


JOB = Path(__file__).with_name("lightning_job.py")


def start(logger: str, savedir: Path) -> Forked:
    env = job_environment(PYTHONPATH=str(LIGHTNING))
    process = fork_server().start(str(JOB), str(savedir), logger, cwd=savedir, env=env)
    while line := process.readline():
        if line == "ready\n":
            return process
    raise AssertionError(f"the training ended: {process.communicate()}")


def ended(process: Forked) -> tuple[int | None, list[str]]:
    """The status of the process, and the marks that it said in the end."""
    process.send_signal(signal.SIGTERM)
    lines = process.communicate().splitlines()
    return process.returncode, [line for line in lines if line.startswith(("on_exception", "after fit"))]


def test_lightning_ends_at_sigterm_as_without_a_logger_and_everything_logged_is_in_the_journal(tmp_path: Path) -> None:
    without, logging = start("without", tmp_path), start("with", tmp_path)
    try:
        expected = ended(without)
        assert expected == (0, ["on_exception SIGTERMException", "after fit"])
        assert ended(logging) == expected
    finally:
        for process in (without, logging):
            process.kill()
    run = RunView(tmp_path / "runs" / "lightning")
    assert run.summary.status == "FINISHED"
    loss = series(captured(tmp_path / "runs" / "lightning"), "loss")
    assert list(loss) == list(range(len(loss)))
    assert len(loss) > 10
