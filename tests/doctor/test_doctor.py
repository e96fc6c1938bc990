"""The doctor reports findings with cures and never hangs."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from launch import Ranks, torchrun
from mlflow_server import serve
from runtimes import MPIRUN, environment

from ranklog.backends.mlflow import run_database
from ranklog.cli.doctor import backends as doctor_backends
from ranklog.cli.doctor import file_system, process, storage
from ranklog.cli.doctor.backends import backend_checks
from ranklog.cli.doctor.check import Check, TimedProbe
from ranklog.cli.doctor.file_system import nature_check, size_check
from ranklog.cli.doctor.quota import Quota, judge_quota, quota_in
from ranklog.cli.doctor.storage import storage_checks
from ranklog.journal.file_system import FileSystem

HERE = Path()
RANKLOG = str(Path(sys.executable).with_name("ranklog"))
COMMAND = "import sys; from ranklog.cli import main; sys.argv[0] = 'ranklog'; main()"


def doctor(*words: str, cwd: Path, **extra: str) -> tuple[int, dict[str, list[dict[str, str]]], str]:
    """Exit status, findings by name, and everything that was printed."""
    env = {**os.environ, **extra}
    command = [RANKLOG, "doctor", "--json", *words]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, by_name(done.stdout), done.stdout + done.stderr


def by_name(text: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for check in json.loads(text)["checks"]:
        found.setdefault(check["name"], []).append(check)
    return found


def one(checks: list[Check]) -> Check:
    (check,) = checks
    return check


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server on loopback that has one answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_a_healthy_machine_is_green_and_nothing_is_left_behind(tmp_path):
    status, found, _ = doctor(cwd=tmp_path)
    assert status == 0
    assert {check["level"] for checks in found.values() for check in checks} <= {"ok", "warn"}
    assert one(found["place"])["text"] == "single process: no launcher variables found"
    assert one(found["exclusive creation"])["level"] == one(found["sync"])["level"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_half_a_launcher_is_red_with_the_cure(tmp_path):
    status, found, _ = doctor(cwd=tmp_path, WORLD_SIZE="4", LOCAL_RANK="1")
    place = one(found["place"])
    assert (status, place["level"]) == (1, "bad")
    assert "WORLD_SIZE=4 LOCAL_RANK=1 without RANK" in place["text"]
    assert "apptainer exec without --cleanenv" in place["cure"]


def test_ignored_launchers_are_shown_with_their_variables():
    environ = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    environ |= {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "7"}
    place, others = process.place_checks(environ)
    assert place.text == "4 ranks on 2 nodes: variables of torchrun"
    assert (others.level, "slurm says rank 1/2 (SLURM_PROCID=1" in others.text) == ("ok", True)


def test_secrets_are_reported_by_name_only(tmp_path):
    canary = "canary-77ab"
    extra = {"WANDB_API_KEY": canary, "MLFLOW_TRACKING_PASSWORD": canary}
    extra["MLFLOW_TRACKING_URI"] = f"http://ada:{canary}@127.0.0.1:9"
    _, found, everything = doctor("--backends", "mlflow", cwd=tmp_path, **extra)
    text = one(found["secrets"])["text"]
    assert "WANDB_API_KEY set" in text and "MLFLOW_TRACKING_TOKEN not set" in text
    assert canary not in everything


def test_a_server_that_answers_is_green(tmp_path):
    with answering(200, b"{}") as server:
        _, found, _ = doctor("--backends", "mlflow", cwd=tmp_path, MLFLOW_TRACKING_URI=server)
    assert one(found["server of mlflow"])["text"] == f"{server} answers"


@pytest.mark.slow
def test_an_mlflow_server_that_refuses_its_own_name_is_yellow_with_the_option_that_helps(tmp_path):
    pytest.importorskip("mlflow")
    with serve(tmp_path / "server", host="127.0.0.2") as port:
        found = backend_checks(["mlflow"], {"MLFLOW_TRACKING_URI": f"http://127.0.0.2:{port}"}, HERE)[-1]
    assert found.level == "warn" and f"--allowed-hosts 127.0.0.2:{port}" in found.cure
    assert "token" not in found.cure


@pytest.mark.slow
def test_an_mlflow_server_that_takes_requests_is_green(tmp_path):
    pytest.importorskip("mlflow")
    with serve(tmp_path / "server") as port:
        found = backend_checks(["mlflow"], {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}, HERE)[-1]
    assert (found.level, found.text) == ("ok", f"http://127.0.0.1:{port} answers")


def test_a_page_in_place_of_mlflows_api_is_yellow():
    with answering(200, b"<html>Accept our terms</html>") as url:
        found = backend_checks(["mlflow"], {"MLFLOW_TRACKING_URI": url}, HERE)[-1]
    assert found.level == "warn" and "proxy" in found.cure


def test_a_server_that_requires_a_login_is_green_once_a_key_is_set():
    with answering(401, b"who are you") as url:
        without = backend_checks(["mlflow"], {"MLFLOW_TRACKING_URI": url}, HERE)[-1]
        having = backend_checks(["mlflow"], {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_TOKEN": "t"}, HERE)[-1]
    assert (without.level, having.level) == ("warn", "ok")


def test_a_server_that_cannot_be_reached_is_yellow_unless_delivery_is_later():
    environ = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    found = backend_checks(["mlflow"], environ, HERE)[-1]
    assert found.level == "warn" and "ranklog sync --watch" in found.cure
    assert backend_checks(["mlflow"], {**environ, "RANKLOG_FORWARD": "later"}, HERE)[-1].level == "ok"


@pytest.mark.slow
def test_a_server_that_never_answers_does_not_block_the_doctor(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        status, found, _ = doctor("--backends", "mlflow", cwd=tmp_path, MLFLOW_TRACKING_URI=url)
    assert status == 0
    assert "timed out" in one(found["server of mlflow"])["text"]


def test_a_required_backend_that_is_not_installed_is_red(tmp_path):
    status, found, _ = doctor("--backends", "console,nonsense", cwd=tmp_path)
    assert (status, one(found["backend nonsense"])["level"]) == (1, "bad")


def test_a_directory_that_cannot_be_written_is_red(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.os, "access", lambda *_: False)  # root may write everywhere
    writing = storage_checks(tmp_path / "runs")[-1]
    assert (writing.name, writing.level) == ("writing", "bad") and "RANKLOG_DIR" in writing.cure


@pytest.mark.parametrize(
    ("kind", "level"),
    [("lustre", "ok"), ("nfs4", "ok"), ("ext4", "ok"), ("overlay", "warn"), ("tmpfs", "warn"), ("fuse.sshfs", "ok"),
     ("fuse.bindfs", "ok"), ("fuse.fuse-overlayfs", "warn"), ("fuse.s3fs", "bad"), ("fuse.rclone", "bad")],
)  # fmt: skip
def test_the_kind_of_file_system_is_judged(kind, level):
    found = nature_check("/here/runs", FileSystem("/here", kind))
    assert (found.level, f"is on {kind} at /here" in found.text, bool(found.cure)) == (level, True, level != "ok")


def test_fuse_over_a_local_disk_is_no_network_file_system():
    assert "local file system" in nature_check("/runs", FileSystem("/", "fuse.bindfs")).text
    assert "network file system" in nature_check("/runs", FileSystem("/", "fuse.sshfs")).text


def test_an_overlay_whose_syncs_do_nothing_is_red():
    found = nature_check("/runs", FileSystem("/", "overlay", "overlay", ("rw", "upperdir=/u", "volatile")))
    assert found.level == "bad" and "syncs do nothing" in found.text


@pytest.mark.parametrize(
    ("kind", "block", "blocks", "free"),
    [("fuse.s3fs", 16 << 20, (1 << 40) - 1, (1 << 40) - 1), ("fuse.rclone", 4096, 1 << 38, 1 << 38),
     ("fuse.sshfs", 4096, 0, 0), ("fuse.gvfsd", 4096, 10, 2**64 // 4096 - 1)],
)  # fmt: skip
def test_sizes_that_mean_nothing_are_neither_praised_nor_complained_about(
    kind, block, blocks, free, tmp_path, monkeypatch
):
    class Told:
        f_frsize, f_blocks, f_bavail, f_files, f_favail = block, blocks, free, 1_000_000_000, 0

    monkeypatch.setattr(file_system.os, "statvfs", lambda _: Told)
    space = size_check(tmp_path, FileSystem("/", kind))
    assert (space.level, space.text.partition(":")[0]) == ("ok", "unknown")


def test_a_limit_on_the_size_of_files_is_found_by_writing_and_the_probe_is_removed(tmp_path):
    script = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5 << 20, 5 << 20))\n"
    script += "from pathlib import Path; from ranklog.cli.doctor.quota import quota_checks\n"
    script += f"print(*quota_checks(Path({str(tmp_path)!r}) / 'runs'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "level='bad'" in done.stdout and "writing failed after 5.0 MiB" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "quota", "level"),
    [
        ("     /scratch  950000*  900000 1000000  6d23h  12  0  0  -\n", Quota(950000, 900000, 12, 0), "warn"),
        ("     /scratch  95  900000 1000000 -  96  0  100  -\n", Quota(95, 900000, 96, 100), "warn"),
        ("     mds@tcp:/fs  95  0 0 0  12  0  0  0\n", Quota(95, 0, 12, 0), "ok"),
        ("     /scratch2  950000  900000 1000000  -  12  0  0  -\n", None, None),
        ("Disk quotas for user ada (uid 1000): none\n", None, None),
    ],
)
def test_the_answer_of_a_quota_program_is_read(output, quota, level):
    found = quota_in(output, ["mds@tcp:/fs", "/scratch"])
    assert found == quota
    assert level is None or judge_quota(found, "lfs").level == level


def test_on_a_file_system_that_machines_share_mlflows_default_is_a_database_per_run(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_backends, "file_system_of", lambda _: FileSystem("/", "lustre"))
    found = backend_checks(["mlflow"], {}, tmp_path)[-1]
    assert found.level == "ok" and "one SQLite file per run" in found.text and "lustre" in found.text
    assert "ranklog sync --to mlflow=sqlite" in found.text


def test_a_sqlite_file_that_the_user_put_on_such_a_file_system_is_yellow(tmp_path, monkeypatch):
    monkeypatch.setattr(run_database, "file_system_of", lambda _: FileSystem("/", "nfs4"))
    found = backend_checks(["mlflow"], {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}, tmp_path)[-1]
    assert found.level == "warn" and "nfs4" in found.text and found.cure


def test_a_full_disk_and_one_without_inodes_are_reported(tmp_path, monkeypatch):
    class Told:
        f_frsize, f_blocks, f_bavail, f_files, f_favail = 4096, 1000, 10, 100, 3

    monkeypatch.setattr(file_system.os, "statvfs", lambda _: Told)
    space = next(check for check in storage_checks(tmp_path) if check.name == "space")
    assert (space.level, space.text) == ("bad", "40.0 KiB free, but only 3 inodes")


def test_an_ignored_sigterm_is_reported(tmp_path):
    status, found, _ = doctor(cwd=tmp_path)
    assert one(found["signals"])["level"] == "ok"
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        status, found, _ = doctor(cwd=tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (status, one(found["signals"])["level"]) == (0, "warn")


def test_a_probe_that_hangs_is_reported_and_abandoned():
    never = threading.Event()

    def hang() -> list[Check]:
        never.wait()
        return []

    found = TimedProbe("disk", hang, 0.05, "look at it")
    assert found.result() == [Check(name="disk", level="bad", text="no answer within 0.05 s", cure="look at it")]
    assert found.hangs
    never.set()


def test_a_probe_that_raises_is_reported():
    def probe():
        raise OSError("gone")

    assert one(TimedProbe("disk", probe, 5).result()).text == "OSError: gone"


@pytest.mark.slow
def test_under_torchrun_one_screen_shows_all_ranks(tmp_path):
    job = torchrun(3, f"import sys; sys.argv[1:] = ['doctor', '--json']\n{COMMAND}", cwd=tmp_path)
    assert job.code == 0, job.output
    found = by_name(job.output[job.output.index("{\n") :])
    assert one(found["place"])["text"] == "3 ranks on 1 node: variables of torchrun"
    assert one(found["place"])["ranks"] == [0, 1, 2]
    assert "over gloo, all ranks in one group" in one(found["strategy"])["text"]
    assert one(found["all_reduce"])["level"] == one(found["clocks"])["level"] == "ok"


@pytest.mark.slow
def test_under_mpirun_the_ranks_communicate_with_mpi(tmp_path):
    command = [*MPIRUN, "-n", "2", RANKLOG, "doctor", "--json", "--backends", "console"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert one(by_name(done.stdout)["strategy"])["text"] == "mpi, over mpi, all ranks in one group"


@pytest.mark.slow
def test_when_a_rank_never_starts_the_others_end_in_time_and_report_it(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1': time.sleep(600)\n"
        f"sys.argv[1:] = ['doctor', '--timeout', '4']\n{COMMAND}"
    )
    ranks = Ranks(2, script, cwd=tmp_path)
    try:
        done = ranks.finish([0], timeout_s=60)[0]
    finally:
        ranks.kill()
    assert done.code == 1
    assert "BAD  communicator" in done.output and "the ranks cannot communicate" in done.output
    assert "GLOO_SOCKET_IFNAME" in done.output


@pytest.mark.slow
def test_when_a_rank_of_mpi_never_starts_the_others_end_in_time(tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, sys, time\n"
        "if os.environ['OMPI_COMM_WORLD_RANK'] == '1':\n"
        "    from mpi4py import MPI\n    time.sleep(600)\n"
        f"sys.argv[1:] = ['doctor', '--timeout', '3']\n{COMMAND}"
    )
    command = [*MPIRUN, "-n", "2", sys.executable, str(script)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode != 0
    assert "the ranks cannot communicate" in done.stdout
