"""Descriptors that were closed, or whose close failed, never write to the next file of the program."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from ranklog.forwarding.forwarder import start_forwarder
from ranklog.journal.descriptor import Descriptor
from ranklog.journal.writer import JournalWriter
from ranklog.process.earlier_wakeup import EarlierWakeup
from ranklog.process.signals import SignalWatch
from ranklog.process.warnings import Health


@pytest.fixture
def own(tmp_path: Path) -> Iterator[list[int]]:
    """A number to be taken by a file of the program, which is compared at the end; put the number in to have it so."""
    taken: list[int] = []
    path = tmp_path / "checkpoint"
    yield taken
    os.write(taken[0], b"checkpoint")
    os.close(taken[0])
    assert path.read_bytes() == b"checkpoint"


def take(number: int, path: Path) -> int:
    """Have a file of the program opened under a number that its owner has closed, or closes now."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    if fd != number:
        os.dup2(fd, number)
        os.close(fd)
    return number


def test_a_wake_up_after_a_failed_close_of_the_pipe_writes_to_no_file(
    start_attempt: type[JournalWriter], tmp_path: Path, own: list[int]
) -> None:
    start_attempt().close()
    forwarder = start_forwarder("process", tmp_path / "run-a", secrets={}, console=False, health=Health())
    number: int = forwarder._orders.number  # type: ignore[attr-defined]
    real = os.close

    def close(fd: int) -> None:
        if fd == number and not own:
            own.append(take(fd, tmp_path / "checkpoint"))
            raise OSError(5, "close fails")
        real(fd)

    with patch.object(os, "close", close):
        forwarder.close(60)
        forwarder.wake()
        forwarder.forget()
    assert own == [number]


def test_threads_that_wake_during_a_close_never_write_to_the_next_file(tmp_path: Path, own: list[int]) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    held = Descriptor(writer)
    go = threading.Event()

    def wake() -> None:
        go.wait(60)
        for _ in range(2000):
            try:
                held.call(os.write, b".")
            except OSError:
                pass

    threads = [threading.Thread(target=wake) for _ in range(4)]
    for thread in threads:
        thread.start()
    go.set()
    held.close()
    own.append(take(writer, tmp_path / "checkpoint"))
    for thread in threads:
        thread.join(60)
    os.close(reader)


def test_signals_do_not_reach_a_file_that_got_the_number_of_an_earlier_wake_up_descriptor(
    tmp_path: Path, own: list[int]
) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    earlier = EarlierWakeup(writer)
    earlier.pass_on(signal.SIGTERM)
    assert os.read(reader, 10) == bytes([signal.SIGTERM])
    own.append(take(writer, tmp_path / "checkpoint"))
    earlier.pass_on(signal.SIGTERM)
    assert os.read(reader, 10) == bytes([signal.SIGTERM]), "its reader still hears"
    before = signal.set_wakeup_fd(-1)
    earlier.restore()
    assert signal.set_wakeup_fd(before) == -1, "what means another file now is not put back"
    earlier.close()
    os.close(reader)


def test_an_earlier_wake_up_descriptor_that_still_exists_is_restored() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    earlier = EarlierWakeup(writer)
    before = signal.set_wakeup_fd(-1)
    earlier.restore()
    assert signal.set_wakeup_fd(before) == writer
    earlier.close()
    os.close(reader)
    os.close(writer)


def test_in_a_forked_child_close_does_not_wait_for_a_lock_of_a_parents_thread() -> None:
    reader, writer = os.pipe()
    held = Descriptor(writer)
    inside, leave = threading.Event(), threading.Event()

    def hold(fd: int) -> None:
        inside.set()
        leave.wait(60)

    thread = threading.Thread(target=lambda: held.call(hold))
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        held.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join(60)
    held.close()
    os.close(reader)
    assert status == 0


def test_a_wakeup_descriptor_that_another_library_restores_later_is_no_file_of_the_program(tmp_path: Path) -> None:
    before = signal.set_wakeup_fd(-1)
    watch = SignalWatch(lambda number: None)
    watch.add(signal.SIGUSR1, lambda: None)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    ours = signal.set_wakeup_fd(writer.fileno())
    handler = signal.getsignal(signal.SIGUSR1)
    watch.stop()
    with (tmp_path / "checkpoint").open("wb") as checkpoint:
        assert checkpoint.fileno() != ours
        assert signal.set_wakeup_fd(ours, warn_on_full_buffer=False) == writer.fileno()
        signal.signal(signal.SIGUSR1, handler)  # which a library may have kept, too
        signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert signal.set_wakeup_fd(before) == ours
    assert (tmp_path / "checkpoint").read_bytes() == b""
    reader.close()
    writer.close()
