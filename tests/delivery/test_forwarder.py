"""The forwarder as a real process, with a test that plays the training process and a backend that appends to a file."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ranklog.backends.shared.delivery_log import LOG
from ranklog.delivery import __main__ as forwarder_main
from ranklog.delivery.batches import BATCH_ENTRIES
from ranklog.delivery.lock import LOCK
from ranklog.forwarding.forwarder import (
    ALL,
    DELIVERED,
    EFFICIENCY,
    ENOUGH,
    LEFT,
    MORE,
    SENT_TO_ALL,
    start_forwarder,
)
from ranklog.journal.cursor import load_cursor
from ranklog.model.record import End, File, Item, Metrics
from ranklog.model.spec import BackendSpec
from ranklog.process.warnings import Health

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

BACKEND = """
import atexit, json, os, subprocess, time
from pathlib import Path

if "SLOW_EXIT_S" in os.environ:
    atexit.register(time.sleep, float(os.environ["SLOW_EXIT_S"]))

class Appending:
    def open(self, *, context):
        self.path = context.run_dir.parent / "got.jsonl"
        self.slow_s = float(os.environ.get("SLOW_S", "0"))
        print("noise of a client library")
        self.helper = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.append(helper=self.helper.pid)
        self.append(open=context.resumed_at, pid=os.getpid())
        print(f"hello from {context.facts.run_id}", file=context.console)
        return {"run_id": "r-1"}

    def append(self, **line):
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\\n")

    def deliver(self, *, entries):
        if (self.path.parent / "down").exists():
            raise ConnectionError("http://ada:secret@server/ is down")
        time.sleep(self.slow_s)
        for entry in entries:
            self.append(ordinal=entry.ordinal, step=getattr(entry.record, "step", None))

    def close(self, *, status, timeout_s):
        self.helper.stdin.close()
        self.append(helped=self.helper.wait())
        self.append(close=status)
"""

TRAINER = """
import os, sys
from pathlib import Path
from ranklog.journal.layout import write_facts
from ranklog.journal.writer import JournalWriter
from ranklog.model.place import Place
from ranklog.model.record import PROTOCOL, Attempt, Metrics, RunFacts
from ranklog.model.spec import BackendSpec
import socket, subprocess, time

run_dir = Path(sys.argv[1])
run_dir.mkdir(mode=0o700)
write_facts(run_dir, RunFacts(protocol=PROTOCOL, run_id="run-a", experiment="x", created_ns=0, ranklog_version="0"))
head = Attempt(PROTOCOL, "run-a", 0, Place(), socket.gethostname(), os.getpid(), time.time_ns(),
               (BackendSpec(backend="appending"),))
writer = JournalWriter(run_dir, head)
child = subprocess.Popen([sys.executable, "-m", "ranklog.delivery", str(run_dir)], stdin=subprocess.PIPE,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
for step in range(500):
    writer.append([Metrics(step, step, -1, {"loss": float(step)})])
    child.stdin.write(b"."); child.stdin.flush()
writer.sync()
print(child.pid, flush=True)
time.sleep(60)
"""


class Forwarder:
    def __init__(self, run_dir: Path, environ: dict[str, str]) -> None:
        self.run_dir = run_dir
        self.got = run_dir.parent / "got.jsonl"
        self.environ = environ
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, console_fd: int | None = None, **environ: str) -> subprocess.Popen[bytes]:
        extra = [] if console_fd is None else ["--console-fd", str(console_fd)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ranklog.delivery", str(self.run_dir), *extra],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=() if console_fd is None else (console_fd,),
            env={**self.environ, **environ},
        )
        return self.process

    def wake(self) -> None:
        self.say(MORE)

    def say(self, what: bytes) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(what)
        self.process.stdin.flush()

    def hang_up(self) -> int:
        """End the pipe, as a trainer that is gone; the exit status."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(120)

    def lines(self, key: str) -> list[object]:
        if not self.got.exists():
            return []
        found = [json.loads(line) for line in self.got.read_text().splitlines()]
        return [line[key] for line in found if key in line]


def until(condition: object, what: str, timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    packages = tmp_path / "packages"
    (packages / "appending-1.dist-info").mkdir(parents=True)
    (packages / "appending-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: appending\nVersion: 1\n")
    (packages / "appending-1.dist-info" / "entry_points.txt").write_text(
        "[ranklog.backends]\nappending = appending:Appending\n"
    )
    (packages / "appending.py").write_text(BACKEND)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture
def forwarder(tmp_path: Path, environ: dict[str, str]):
    forwarder = Forwarder(tmp_path / "run-a", environ)
    yield forwarder
    if forwarder.process is not None:
        forwarder.process.kill()
        forwarder.process.wait(120)


def metrics(*steps: int) -> list[Metrics]:
    return [Metrics(step, step, -1, {"loss": float(step)}) for step in steps]


def test_a_finished_run_is_delivered_and_closed_with_its_status(start_attempt, forwarder):
    writer = start_attempt(backends=("appending",))
    forwarder.start()
    writer.append(metrics(0, 1))
    forwarder.wake()
    until(lambda: forwarder.lines("step") == [None, 0, 1], "live delivery")
    writer.append([*metrics(2), End("FINISHED", 0)])
    writer.close()
    assert forwarder.hang_up() == 0
    assert forwarder.lines("ordinal") == [0, 1, 2, 3, 4]
    assert forwarder.lines("close") == ["FINISHED"]
    cursor = load_cursor(forwarder.run_dir, 0, "appending")
    assert (cursor.next_ordinal, cursor.status, cursor.known) == (5, "FINISHED", {"run_id": "r-1"})
    assert not (forwarder.run_dir / LOCK).exists()


def test_sigkill_of_the_training_process_loses_nothing_and_closes_the_run_as_killed(tmp_path, forwarder):
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(forwarder.run_dir)], stdout=subprocess.PIPE, env=forwarder.environ
    )
    try:
        assert trainer.stdout is not None
        trainer.stdout.readline()
        trainer.send_signal(signal.SIGKILL)
        until(lambda: forwarder.lines("close") == ["KILLED"], "closed as KILLED")
    finally:
        trainer.kill()
        trainer.wait(120)
    assert forwarder.lines("step") == [None, *range(500)]
    until(lambda: load_cursor(forwarder.run_dir, 0, "appending").status == "KILLED", "cursor closed")


def test_sigkill_of_the_forwarder_and_a_restart_deliver_each_entry_once_by_the_cursor(start_attempt, forwarder):
    writer = start_attempt(backends=("appending",))
    writer.append(metrics(*range(10)))
    first = forwarder.start()
    until(lambda: load_cursor(forwarder.run_dir, 0, "appending").next_ordinal == 11, "first part accepted")
    first.kill()
    first.wait(120)
    writer.append([*metrics(*range(10, 20)), End("FINISHED", 0)])
    forwarder.start()
    assert forwarder.hang_up() == 0
    assert forwarder.lines("ordinal") == list(range(22))
    assert forwarder.lines("close") == ["FINISHED"]


def test_output_of_client_libraries_goes_to_the_private_log_and_the_console_backend_to_its_descriptor(
    start_attempt, forwarder
):
    start_attempt(backends=("appending",)).append([End("FINISHED", 0)])
    reader, console = os.pipe()
    forwarder.start(console_fd=console)
    os.close(console)
    assert forwarder.hang_up() == 0
    with os.fdopen(reader) as shown:
        assert shown.read() == "hello from run-a\n"
    log = forwarder.run_dir / LOG
    assert "noise of a client library" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_records_for_a_backend_that_stays_down_are_left_for_sync_after_the_linger_time(
    start_attempt, forwarder, tmp_path
):
    start_attempt(backends=("appending",)).append([*metrics(0), End("FAILED", 0)])
    (tmp_path / "down").touch()
    forwarder.start(RANKLOG_LINGER_S="1")
    until(lambda: load_cursor(forwarder.run_dir, 0, "appending").error is not None, "tried")
    assert forwarder.hang_up() == 3
    cursor = load_cursor(forwarder.run_dir, 0, "appending")
    assert (cursor.next_ordinal, cursor.status) == (0, None)
    assert cursor.error == "ConnectionError: http://***@server/ is down"
    log = (forwarder.run_dir / LOG).read_text()
    assert "ranklog sync" in log and "secret" not in log


def test_a_sigterm_to_training_and_forwarder_leaves_no_run_open(start_attempt, forwarder):
    writer = start_attempt(backends=("appending",))
    process = forwarder.start()
    until(lambda: forwarder.lines("open") == [0], "opened")
    process.terminate()
    writer.append(metrics(0))
    forwarder.wake()
    until(lambda: forwarder.lines("step") == [None, 0], "goes on while the trainer is there")
    assert forwarder.hang_up() == 0
    assert forwarder.lines("close") == ["KILLED"]


def test_a_sigterm_just_after_training_ended_leaves_no_run_open(start_attempt, forwarder):
    start_attempt(backends=("appending",)).append(metrics(0))
    process = forwarder.start(SLOW_S="0.5")
    until(lambda: forwarder.lines("open") == [0], "opened")
    assert process.stdin is not None
    process.stdin.close()
    time.sleep(0.1)  # the pipe's end comes first, within the first batch
    process.terminate()
    assert process.wait(120) == 0
    assert forwarder.lines("close") == ["KILLED"]


@pytest.mark.parametrize("alone", [True, False], ids=["a second SIGTERM alone", "the trainer waits no longer"])
def test_the_current_batch_is_finished_and_the_run_stays_open(start_attempt, forwarder, alone):
    writer = start_attempt(backends=("appending",))
    writer.append([*metrics(*range(BATCH_ENTRIES)), End("FINISHED", 0)])
    process = forwarder.start(SLOW_S="1")
    until(lambda: forwarder.lines("open") == [0], "opened")
    assert process.stdin is not None
    if alone:
        process.stdin.close()
        process.terminate()
        time.sleep(0.2)  # signals that come at once are one
        process.terminate()
    else:
        forwarder.say(ALL)
        forwarder.say(ENOUGH)
    assert process.wait(120) == LEFT
    assert load_cursor(forwarder.run_dir, 0, "appending").next_ordinal == len(forwarder.lines("ordinal"))
    assert len(forwarder.lines("ordinal")) == BATCH_ENTRIES
    assert forwarder.lines("close") == [None]


def test_the_forwarder_ends_once_everything_is_delivered_while_training_waits(start_attempt, forwarder):
    start_attempt(backends=("appending",)).append([*metrics(0), End("FINISHED", 0)])
    process = forwarder.start()
    forwarder.say(ALL)
    assert process.wait(120) == 0
    assert forwarder.lines("close") == ["FINISHED"]


@pytest.mark.parametrize("number", sorted(SENT_TO_ALL))
@pytest.mark.parametrize("closed", [False, True], ids=["while training goes on", "while the trainer waits"])
def test_no_signal_to_every_process_ends_the_forwarder_or_its_helpers(start_attempt, forwarder, number, closed):
    writer = start_attempt(backends=("appending",))
    process = forwarder.start(SLOW_S="0.2")
    until(lambda: forwarder.lines("open") == [0], "opened")
    if closed:
        writer.append([*metrics(*range(3)), End("FINISHED", 0)])
        forwarder.say(ALL)
    (helper,) = forwarder.lines("helper")
    for _ in range(3):
        for pid in (process.pid, helper):
            os.kill(pid, number)
        time.sleep(0.02)  # signals that come at once are one
    if not closed:
        writer.append([*metrics(*range(3)), End("FINISHED", 0)])
    assert forwarder.hang_up() == 0
    assert forwarder.lines("step") == [None, 0, 1, 2, None]
    assert forwarder.lines("close") == ["FINISHED"]
    assert forwarder.lines("helped") == [0]


def test_no_signal_ends_the_forwarder_while_it_starts(start_attempt, forwarder):
    writer = start_attempt(backends=("appending",))
    child = start_forwarder(
        "process", forwarder.run_dir, secrets={"PYTHONPATH": forwarder.environ["PYTHONPATH"]}, console=False,
        health=Health(),
    )  # fmt: skip
    (process,) = (each for each in psutil.Process().children() if str(forwarder.run_dir) in each.cmdline())
    while not forwarder.lines("open"):
        for number in SENT_TO_ALL:
            process.send_signal(number)
        time.sleep(0.005)
    writer.append([*metrics(0), End("FINISHED", 0)])
    assert child.close(60).outcome == "delivered"
    assert forwarder.lines("close") == ["FINISHED"]
    assert not SENT_TO_ALL & signal.pthread_sigmask(signal.SIG_BLOCK, ()), "the trainer takes signals as before"


def test_an_idle_forwarder_uses_no_cpu_time(start_attempt, forwarder):
    start_attempt(backends=("appending",))
    process = forwarder.start()
    until(lambda: load_cursor(forwarder.run_dir, 0, "appending").next_ordinal == 1, "caught up")

    def switches() -> int:
        status = Path(f"/proc/{process.pid}/task").glob("*/status")
        return sum(
            int(line.split()[1]) for path in status for line in path.read_text().splitlines() if "ctxt_switches" in line
        )

    until(
        lambda: (before := switches(), time.sleep(0.5), switches() == before)[2],
        "no thread runs any more",
        10,
    )


def test_a_run_counts_as_delivered_while_client_libraries_still_clean_up(start_attempt, forwarder):
    writer = start_attempt(backends=("appending",))
    child = start_forwarder(
        "process", forwarder.run_dir, console=False, health=Health(),
        secrets={"PYTHONPATH": forwarder.environ["PYTHONPATH"], "SLOW_EXIT_S": "60"},
    )  # fmt: skip
    writer.append([*metrics(0), End("FINISHED", 0)])
    child._tell(ALL)
    select.select([child._report.number], [], [], 60)
    assert child.close(0).outcome == "delivered"


def test_a_second_forwarder_of_a_run_waits_until_the_first_is_gone(start_attempt, forwarder, environ):
    writer = start_attempt(backends=("appending",))
    forwarder.start()
    until(lambda: forwarder.lines("ordinal") == [0], "first delivers")
    second = Forwarder(forwarder.run_dir, environ)
    process = second.start()
    try:
        until(lambda: "delivers this run already" in (forwarder.run_dir / LOG).read_text(), "second waits")
        writer.append([End("FINISHED", 0)])
        assert forwarder.hang_up() == 0
        assert second.hang_up() == 0
    finally:
        process.kill()
        process.wait(120)
    assert forwarder.lines("ordinal") == [0, 1]


def test_both_sides_agree_on_messages_and_signals():
    assert [ord(each) for each in (ALL, ENOUGH, EFFICIENCY)] == [
        forwarder_main._ALL,
        forwarder_main._ENOUGH,
        forwarder_main._EFFICIENCY,
    ]
    assert (LEFT, DELIVERED) == (forwarder_main.LEFT, forwarder_main.DELIVERED)
    assert {*forwarder_main.IGNORED, signal.SIGTERM} == SENT_TO_ALL


def test_the_forwarder_runs_at_the_lowest_priority(start_attempt, forwarder):
    start_attempt(backends=("appending",))
    process = forwarder.start()
    until(lambda: forwarder.lines("ordinal") == [0], "delivers")
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19


def test_a_log_that_cannot_be_written_does_not_stop_delivery(start_attempt, forwarder):
    start_attempt(backends=("appending",)).append([End("FINISHED", 0)])
    (forwarder.run_dir / LOG).mkdir()  # as a full disk refuses it
    forwarder.start()
    assert forwarder.hang_up() == 0
    assert forwarder.lines("close") == ["FINISHED"]


@pytest.mark.parametrize("backend", ["wandb", "mlflow"])
def test_client_libraries_leave_no_temporary_directories_behind(start_attempt, forwarder, tmp_path, backend):
    pytest.importorskip(backend)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = {"savedir": str(tmp_path / backend), "project_name": "digits", "offline_mode": True}
    writer = start_attempt(backends=(BackendSpec(backend=backend, options=options),))
    file = File("notes.bin", 3, hashlib.sha256(b"abc").hexdigest(), b"abc")
    item = Item("artifact", "notes", 0, 0, -1, 0, "application/octet-stream", (file,))
    writer.append([*metrics(0), item, End("FINISHED", 0)])
    forwarder.start(TMPDIR=str(scratch))
    assert forwarder.hang_up() == 0
    assert [path.name for path in scratch.iterdir() if path.is_dir()] == []


def test_a_wrong_call_is_refused(tmp_path, environ):
    done = subprocess.run(
        [sys.executable, "-m", "ranklog.delivery", str(tmp_path / "nowhere")],
        env=environ,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert b"is not a directory" in done.stderr
