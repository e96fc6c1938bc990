"""`ranklog prune` deletes only fully delivered runs, after asking."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ranklog.delivery.lock import DeliveryLock
from ranklog.delivery.pump import Pump
from ranklog.delivery.step import Finish
from ranklog.journal.cursor import load_cursor, save_cursor
from ranklog.journal.layout import find_runs, segment_name
from ranklog.journal.writer import JournalWriter
from ranklog.model.record import End, Metrics
from ranklog.model.spec import BackendSpec

pytestmark = pytest.mark.slow

OLD_NS = 1_600_000_000_000_000_000
Start = Callable[..., JournalWriter]


def prune(*arguments: object, answer: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ranklog.cli", "prune", "--older-than", "0", *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, env=env, input=answer, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def runs(tmp_path: Path, start_attempt: Start) -> Path:
    """Old runs: one that is delivered, and one for each reason to keep it."""
    console = BackendSpec(backend="console", options={"savedir": str(tmp_path / "console")})

    def run(name: str, *, ended: bool = True, time_ns: int = OLD_NS, delivered: bool = True, **more: object) -> Path:
        writer = start_attempt(name, backends=(console,), **more)
        writer.append([Metrics(0, time_ns, -1, {"loss": 1.0})] + ([End("FINISHED", time_ns)] if ended else []))
        writer.close()
        run_dir = tmp_path / name
        if delivered:
            pump = Pump(run_dir, console=io.StringIO())
            for _ in pump.run(Finish()):
                pass
            pump.close()
        return run_dir

    run("delivered")
    run("waiting", delivered=False)
    run("running", ended=False, pid=os.getpid())
    run("young", time_ns=2_000_000_000_000_000_000)
    refused = run("refused")
    cursor = load_cursor(refused, 0, "console")
    cursor.refused["1"] = "no"
    save_cursor(refused, 0, cursor)
    damaged = run("damaged") / segment_name(0)
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"xxx")
    start_attempt("damaged", backends=(console,), attempt=1).append([End("FINISHED", OLD_NS)])
    start_attempt("plain", backends=("journal",)).append([End("FINISHED", OLD_NS)])
    return tmp_path


def test_it_deletes_fully_delivered_runs_and_says_why_it_keeps_the_others(runs: Path) -> None:
    done = prune(runs, "--json", "--yes")
    found = {each["run_id"]: each for each in json.loads(done.stdout)}
    assert done.returncode == 0
    assert [name for name, each in found.items() if each["deleted"]] == ["delivered"]
    assert sorted(path.name for path in find_runs(runs)) == sorted(set(found) - {"delivered"})
    reasons = {
        "waiting": "console does not have all",
        "running": "it is RUNNING",
        "young": "its last record",
        "refused": "refused 1 record",
        "damaged": "damaged",
        "plain": "no backend",
    }
    for name, reason in reasons.items():
        assert reason in found[name]["kept"], name


def test_without_a_yes_nothing_is_deleted(runs: Path) -> None:
    options: list[tuple[str, ...]] = [(), ("--json",)]
    for option in options:
        done = prune(runs, *option, answer="y\n")
        assert done.returncode == 0
        assert (runs / "delivered").is_dir()
    assert "confirm with --yes" in prune(runs).stderr
    assert "delivered" in prune(runs).stdout


def test_a_run_that_another_process_delivers_is_kept(runs: Path) -> None:
    lock = DeliveryLock(runs / "delivered")
    lock.ensure()
    done = prune(runs, "--yes", "--json")
    lock.release()
    assert done.returncode == 1
    (kept,) = [each["kept"] for each in json.loads(done.stdout) if each["run_id"] == "delivered"]
    assert kept == "another process delivers it"
    assert (runs / "delivered").is_dir()


def test_without_old_runs_nothing_is_deleted_and_without_a_directory_it_fails(runs: Path) -> None:
    assert prune(runs / "missing").returncode == 2
    assert prune(runs, "--older-than", "-1").returncode == 2
