"""The delivery lock has one holder, and processes that are gone do not hold it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from ranklog.delivery import lock as lock_module
from ranklog.delivery.lock import LEASE_S, LOCK, DeliveryLock, Holder, LockedError, this_machine
from ranklog.journal.liveness import is_alive, this_host


def put(tmp_path, holder: Holder | None, silent_s: float = 0.0):
    path = tmp_path / LOCK
    path.write_bytes(msgspec.json.encode(holder) if holder else b"")
    os.utime(path, (time.time() - silent_s,) * 2)


def test_only_one_process_holds_the_lock_until_it_releases_it(tmp_path):
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


def test_the_returned_number_changes_when_the_lock_is_lost_and_taken_again(tmp_path):
    lock = DeliveryLock(tmp_path)
    before = lock.ensure()
    (tmp_path / LOCK).unlink()
    assert lock.ensure() != before


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(120)
    put(tmp_path, Holder(this_host(), gone.pid, time.time_ns(), "x", this_machine()))
    DeliveryLock(tmp_path).ensure()


def test_a_lock_that_could_not_be_removed_at_its_release_is_taken_over_by_the_same_process(tmp_path):
    run_dir, away = tmp_path / "run", tmp_path / "away"
    run_dir.mkdir()
    first = DeliveryLock(run_dir)
    first.ensure()
    run_dir.rename(away)  # as where a file system is unmounted
    first.release()
    away.rename(run_dir)
    assert (run_dir / LOCK).exists()
    second = DeliveryLock(run_dir)
    second.ensure()
    with pytest.raises(LockedError):
        DeliveryLock(run_dir).ensure()
    second.release()
    assert not (run_dir / LOCK).exists()


def test_a_reused_pid_does_not_hold_the_lock(tmp_path):
    put(tmp_path, Holder(this_host(), os.getpid(), time.time_ns() - 10**9 * 86400 * 365 * 5, "x", this_machine()))
    DeliveryLock(tmp_path).ensure()


@pytest.mark.parametrize(("silent_s", "held"), [(0.0, True), (LEASE_S - 60, True), (LEASE_S + 60, False)])
def test_another_host_holds_the_lock_while_it_renews_the_lease(tmp_path, silent_s, held):
    put(tmp_path, Holder("another-host", 1, time.time_ns(), "x"), silent_s)
    lock = DeliveryLock(tmp_path)
    if held:
        with pytest.raises(LockedError, match="process 1 on another-host"):
            lock.ensure()
    else:
        lock.ensure()


def test_the_same_host_name_with_another_boot_id_or_pid_namespace_is_another_machine(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(120)
    put(tmp_path, Holder(this_host(), gone.pid, time.time_ns(), "x", "another boot"))
    with pytest.raises(LockedError):
        DeliveryLock(tmp_path).ensure()
    put(tmp_path, Holder(this_host(), gone.pid, time.time_ns(), "x", "another boot"), LEASE_S + 1)
    DeliveryLock(tmp_path).ensure()


def test_a_clock_that_differs_from_the_file_servers_does_not_matter(tmp_path, monkeypatch):
    put(tmp_path, Holder("another-host", 1, time.time_ns(), "x"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400)
    with pytest.raises(LockedError):
        DeliveryLock(tmp_path).ensure()


def test_a_holder_renews_its_lease_until_it_releases_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "RENEW_S", 0.01)
    before = threading.active_count()
    lock = DeliveryLock(tmp_path)
    lock.ensure()
    path = tmp_path / LOCK
    os.utime(path, (time.time() - LEASE_S - 60,) * 2)
    deadline_s = time.monotonic() + 10
    while path.stat().st_mtime < time.time() - 60:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    lock.release()
    assert threading.active_count() == before


def test_a_lock_that_was_taken_over_is_not_renewed_by_its_old_holder(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "RENEW_S", 0.01)
    lock = DeliveryLock(tmp_path)
    lock.ensure()
    put(tmp_path, Holder("another-host", 1, time.time_ns(), "x"), 1000)
    time.sleep(0.1)  # long enough for several renewals, which is what must not come
    assert time.time() - (tmp_path / LOCK).stat().st_mtime > 900
    lock.release()
    assert (tmp_path / LOCK).exists(), "it is another one's"


def test_many_processes_that_find_a_stale_lock_end_with_one_holder(tmp_path):
    for _ in range(20):
        put(tmp_path, Holder("another-host", 1, time.time_ns(), "x"), LEASE_S + 60)
        locks = [DeliveryLock(tmp_path) for _ in range(8)]
        together = threading.Barrier(len(locks))
        got: list[DeliveryLock] = []

        def take(lock, together=together, got=got):
            together.wait()
            try:
                lock.ensure()
                got.append(lock)
            except LockedError:
                pass

        threads = [threading.Thread(target=take, args=(lock,)) for lock in locks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        holding = []
        for lock in got:
            try:
                lock.ensure()
                holding.append(lock)
            except LockedError:
                pass
        assert len(holding) == 1
        for lock in locks:
            lock.release()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("silent_s", "held"), [(0.0, True), (60.0, False)])
def test_an_empty_lock_file_is_in_use_at_first_and_stale_later(tmp_path, silent_s, held):
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
    child.wait(120)
    assert is_alive(this_host(), os.getpid(), time.time_ns())
    assert is_alive("another-host", os.getpid(), time.time_ns()) is None


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_lock_that_could_not_be_written_blocks_no_other_process(call, tmp_path, monkeypatch):
    def refuse(*args: object) -> None:
        raise OSError(errno.EIO, "refused")

    monkeypatch.setattr(os, call, refuse)
    lock = DeliveryLock(tmp_path)
    with pytest.raises(OSError, match="refused"):
        lock.ensure()
    monkeypatch.undo()
    assert not (tmp_path / LOCK).exists()
    lock.ensure()
    lock.release()
