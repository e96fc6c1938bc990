"""The delivery lock: one holder; the dead do not hold it for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import msgspec
import pytest

from ranklog.delivery.lock import LOCK, SILENT_S, DeliveryLock, Holder, LockedError
from ranklog.journal.alive import is_alive, this_host


def put(tmp_path, holder: Holder | None, silent_s: float = 0.0):
    path = tmp_path / LOCK
    path.write_bytes(msgspec.json.encode(holder) if holder else b"")
    os.utime(path, (time.time() - silent_s,) * 2)


def test_only_one_holds_it_and_gives_it_back(tmp_path):
    first, second = DeliveryLock(tmp_path), DeliveryLock(tmp_path)
    assert first.ensure() == first.ensure()
    with pytest.raises(LockedError, match=f"process {os.getpid()} on {this_host()}"):
        second.ensure()
    second.release()
    assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o600
    first.release()
    first.release()
    second.ensure()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_losing_and_taking_it_again_shows_in_the_number(tmp_path):
    lock = DeliveryLock(tmp_path)
    before = lock.ensure()
    (tmp_path / LOCK).unlink()
    assert lock.ensure() != before


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(30)
    put(tmp_path, Holder(this_host(), gone.pid, time.time_ns(), "x"))
    DeliveryLock(tmp_path).ensure()


def test_a_pid_that_was_given_to_another_process_since_does_not_hold_it(tmp_path):
    put(tmp_path, Holder(this_host(), os.getpid(), time.time_ns() - 10**9 * 86400 * 365 * 5, "x"))
    DeliveryLock(tmp_path).ensure()


@pytest.mark.parametrize(("silent_s", "held"), [(0.0, True), (SILENT_S - 60, True), (SILENT_S + 60, False)])
def test_another_host_holds_it_as_long_as_it_shows_life(tmp_path, silent_s, held):
    put(tmp_path, Holder("another-host", 1, time.time_ns(), "x"), silent_s)
    lock = DeliveryLock(tmp_path)
    if held:
        with pytest.raises(LockedError, match="process 1 on another-host"):
            lock.ensure()
    else:
        lock.ensure()


@pytest.mark.parametrize(("silent_s", "held"), [(0.0, True), (60.0, False)])
def test_a_lock_file_without_content_is_being_written_or_left_by_a_crash(tmp_path, silent_s, held):
    put(tmp_path, None, silent_s)
    if held:
        with pytest.raises(LockedError, match="another process"):
            DeliveryLock(tmp_path).ensure()
    else:
        DeliveryLock(tmp_path).ensure()


def test_a_zombie_is_not_alive_and_another_host_is_unknown():
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()  # ends when the child does
    deadline_s = time.monotonic() + 10
    while is_alive(this_host(), child.pid, time.time_ns()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    child.wait(10)
    assert is_alive(this_host(), os.getpid(), time.time_ns())
    assert is_alive("another-host", os.getpid(), time.time_ns()) is None
