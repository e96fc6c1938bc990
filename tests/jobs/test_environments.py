"""Secrets all around, any umask, no home or one that refuses, a temporary directory that is not there."""

import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from launch import job_environment
from mlflow_database import place_database

from ranklog.journal.layout import find_runs
from ranklog.view.query import RunView

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("canary_job.py")

TRAIN = """
    import os, sys
    os.umask(int(sys.argv[2], 8))
    from ranklog import ConsoleLogger, LoggersCollection, MLFlowLogger, TensorBoardLogger, WandBLogger
    savedir = sys.argv[1]
    logger = LoggersCollection([
        MLFlowLogger(savedir), TensorBoardLogger(savedir), ConsoleLogger(savedir),
        WandBLogger(savedir, project_name="p", offline_mode=True),
    ])
    with logger.start_logging(exit_timeout=90):
        logger.save_hyperparameters({"lr": 0.1})
        for step in range(20):
            logger.log(float(step), "loss", step=step)
        logger.log("words", "note", kind="text", step=3)
        logger.log(b"x" * 100_000, "big.bin", kind="artifact")
        assert logger.wait_delivered(90)
"""


def train(savedir: Path, umask: str = "022", **environ: str | None) -> subprocess.CompletedProcess[str]:
    script = savedir.parent / "train.py"
    script.write_text(textwrap.dedent(TRAIN))
    env = {name: value for name, value in {**job_environment(), **environ}.items() if value is not None}
    command = [sys.executable, str(script), str(savedir), umask]
    done = subprocess.run(
        command, env=env, cwd=savedir.parent, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run_dir,) = find_runs(savedir)
    summary = RunView(run_dir).summary
    assert summary.status == "FINISHED"
    assert all(delivery.status == "FINISHED" and delivery.has_all for delivery in summary.deliveries)
    assert len(summary.deliveries) == 4
    return done


@pytest.mark.parametrize("umask", ["000", "077"])
def test_what_ranklog_writes_is_private_whatever_the_umask(umask: str, tmp_path: Path) -> None:
    train(tmp_path / "logs", umask)
    (run_dir,) = find_runs(tmp_path / "logs")
    for path in [run_dir, *run_dir.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"


def test_neither_a_home_nor_a_writable_one_is_needed(tmp_path: Path) -> None:
    for folder in "ab":
        place_database(tmp_path / folder / "logs" / "mlflow" / "mlflow.db")
    train(tmp_path / "a" / "logs", HOME=None)
    # Root may write to a directory that forbids it: a file in place of the home refuses everybody.
    refusing = tmp_path / "home"
    refusing.touch()
    train(tmp_path / "b" / "logs", HOME=str(refusing))
    assert refusing.read_bytes() == b""


def test_a_temporary_directory_that_is_not_there_is_not_needed(tmp_path: Path) -> None:
    train(tmp_path / "logs", TMPDIR=str(tmp_path / "missing"))


@pytest.mark.parametrize("ending", ["", "--fail"])
def test_no_secret_is_in_any_file_message_or_process_list(ending: str, tmp_path: Path) -> None:
    canaries = {name: f"canary{index}7f3a9" for index, name in enumerate(("key", "url", "argument", "token", "word"))}
    uri = f"http://ada:{canaries['url']}@127.0.0.1:9/"  # nobody listens there: errors with the URL come about
    env = job_environment(
        WANDB_API_KEY=canaries["key"],
        MLFLOW_TRACKING_TOKEN=canaries["token"],
        SOME_PASSWORD=canaries["word"],
    )
    savedir = tmp_path / "logs"
    command = [sys.executable, str(JOB), str(savedir), uri, "--api-key", canaries["argument"], ending]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode != 0) == bool(ending), done.stderr
    (run_dir,) = find_runs(savedir)
    shown = subprocess.run(
        [sys.executable, "-m", "ranklog.cli", "show", "--json", str(run_dir)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    for name, canary in canaries.items():
        assert canary not in shown, name
        said = done.stdout + done.stderr
        if name == "word":
            said = said.replace(f"{canary} is printed", "")
        assert canary not in said, f"{name}: {said}"
        for path in files:
            assert canary.encode() not in path.read_bytes(), f"{name} is in {path}"
