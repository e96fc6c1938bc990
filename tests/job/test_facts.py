"""Facts about ranks, job and code are recorded once, correctly, and without secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranklog import CSVLogger, JournalLogger
from ranklog.job import efficiency, facts
from ranklog.job.scheduler import JobTimes, ask_slurm, parse_times
from ranklog.model.place import Place
from ranklog.view.query import RunView


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "topic")
    (folder / "train.py").write_text("pass\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def logged(folder: Path) -> RunView:
    logger = JournalLogger(folder)
    with logger.start_logging():
        logger.log(1.0, "loss", step=0)
        run_dir = logger.run_dir
    return RunView(run_dir)


def test_a_run_records_its_commit_and_whether_the_code_was_changed(repository, monkeypatch, tmp_path):
    monkeypatch.chdir(repository)
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "result.txt").write_text("git does not know this file\n")
    first = logged(tmp_path / "logs").jobs[0]
    assert (first.git.commit, first.git.branch, first.git.dirty, first.git.remote) == (commit, "topic", False, "")
    (repository / "train.py").write_text("changed = True\n")
    assert logged(tmp_path / "logs").jobs[0].git.dirty is True


@pytest.mark.parametrize(
    ("given", "noted"),
    [
        ("https://ada:s3cret@git.example/lab/digits.git", "https://git.example/lab/digits.git"),
        ("https://git.example/lab/digits.git?private_token=s3cret", "https://git.example/lab/digits.git"),
        ("git@git.example:lab/digits.git", "git@git.example:lab/digits.git"),
        ("https://[git.example/lab", ""),
    ],
)
def test_a_run_records_the_remote_of_its_code_without_secrets(given, noted, repository, monkeypatch, tmp_path):
    monkeypatch.chdir(repository)
    git(repository, "config", "remote.origin.url", given)
    assert logged(tmp_path / "logs").jobs[0].git.remote == noted
    assert b"s3cret" not in b"".join(path.read_bytes() for path in (tmp_path / "logs").rglob("*") if path.is_file())


def test_without_a_repository_or_git_there_is_no_commit(monkeypatch, tmp_path):
    assert logged(tmp_path / "logs").jobs[0].git is None
    monkeypatch.setenv("PATH", "")
    assert logged(tmp_path / "logs").jobs[0].git is None


def test_a_git_command_that_hangs_does_not_stop_training(repository, monkeypatch, tmp_path):
    monkeypatch.chdir(repository)
    monkeypatch.setattr(facts, "GIT_S", 0.2)
    stub = tmp_path / "bin" / "git"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\nexec sleep 60\n")
    stub.chmod(0o700)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    view = logged(tmp_path / "logs")
    assert view.summary.status == "FINISHED" and view.jobs[0].git is None


def test_a_rank_records_its_host_process_and_machine(tmp_path):
    view = logged(tmp_path)
    me = view.ranks[0]
    assert (me.rank, me.host, me.pid) == (0, os.uname().nodename, os.getpid())
    assert me.cores == len(os.sched_getaffinity(0))
    assert 2**28 < me.memory_bytes < 2**50
    assert me.device == "cpu" or me.device.startswith("cuda:")
    assert view.jobs[0].versions["python"] == sys.version.split()[0]


def test_facts_of_the_scheduler_are_recorded_and_secrets_in_the_command_are_masked(monkeypatch, tmp_path):
    told = {
        "SLURM_JOB_ID": "41",
        "SLURM_JOB_PARTITION": "gpu",
        "SLURM_JOB_ACCOUNT": "project7",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_RESTART_COUNT": "2",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--api-key", "canary-1f7"])
    monkeypatch.setenv("PATH", "")
    ask_slurm.cache_clear()
    job = logged(tmp_path).jobs[0]
    assert (job.scheduler, job.facts) == (
        "slurm",
        {"job": "41", "partition": "gpu", "account": "project7", "nodes": "n[1-2]", "restarts": "2"},
    )
    assert job.command == ("python", "train.py", "--api-key", "***")
    assert all(b"canary-1f7" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_device_is_torchs_current_gpu_once_cuda_is_initialised_else_that_of_the_local_rank(monkeypatch):
    class Cuda:
        ready = False

        @classmethod
        def is_initialized(cls):
            return cls.ready

        @staticmethod
        def current_device():
            return 3

    class Torch:
        cuda = Cuda

    monkeypatch.setitem(sys.modules, "torch", Torch)
    place = Place(rank=5, world_size=8, local_rank=1, local_world_size=4)
    assert facts.device(place, {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}) == "cuda:1"
    assert facts.device(place, {"CUDA_VISIBLE_DEVICES": "6"}) == "cuda:0", "each task sees its own GPU only"
    Cuda.ready = True
    assert facts.device(place, {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}) == "cuda:3"


@pytest.mark.parametrize("answer", ["", "\n", "slurm_load_jobs error", "|||||", "UNLIMITED|N/A|NONE"])
def test_output_of_squeue_without_times_is_accepted(answer):
    times = parse_times(answer)
    assert (times.submitted_s, times.started_s, times.ends_s) == (None, None, None)


_interpreters: list[str] = []


def _note_interpreter(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen" and arguments[0] == sys.executable:
        _interpreters.append(" ".join(map(str, arguments[1])))  # type: ignore[call-overload]


sys.addaudithook(_note_interpreter)


@pytest.fixture
def in_a_slurm_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficiency, "_last_s", float("-inf"))
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setattr(facts, "job_times", lambda _: JobTimes())
    _interpreters.clear()


def test_a_schedulers_job_ends_with_one_efficiency_line_even_with_many_short_runs(
    in_a_slurm_job, monkeypatch, tmp_path, capsys
):
    with monkeypatch.context() as outside:
        outside.delenv("SLURM_JOB_ID")
        logged(tmp_path)
    assert "attempt" not in capsys.readouterr().err, "without a scheduler nothing is said"
    first = logged(tmp_path).summary.facts.run_id
    logged(tmp_path)
    told = [line for line in capsys.readouterr().err.splitlines() if "attempt" in line]
    assert len(told) == 1
    assert told[0].startswith(f"ranklog: run {first} FINISHED: 1 attempt; ")
    assert _interpreters == []


@pytest.mark.slow
@pytest.mark.parametrize(("forward", "interpreters"), [("process", 1), ("thread", 0)])
def test_the_efficiency_line_starts_no_interpreter_besides_the_forwarder(
    forward, interpreters, in_a_slurm_job, tmp_path, capsys
):
    logger = CSVLogger(tmp_path, forward=forward)
    with logger.start_logging(exit_timeout=60):
        logger.log(1.0, "loss", step=0)
        run_id = logger.ranklog_run_id
    told = [line for line in capsys.readouterr().err.splitlines() if "attempt" in line]
    assert len(told) == 1
    assert told[0].startswith(f"ranklog: run {run_id} FINISHED: 1 attempt; ")
    assert len(_interpreters) == interpreters, _interpreters


def test_a_failed_run_ends_without_an_efficiency_line(in_a_slurm_job, tmp_path, capsys):
    logger = JournalLogger(tmp_path)
    with pytest.raises(ZeroDivisionError), logger.start_logging():
        raise ZeroDivisionError
    assert "attempt" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_script_is_found_behind_options_of_the_interpreter(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("import os\nfrom ranklog.job.facts import job_facts\nprint(job_facts(os.environ).script)\n")
    command = [sys.executable, "-W", "ignore", "train.py", "--lr", "0.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "train.py\n"
