"""A sync confirms what was in the file when it began, and nothing that is appended while it waits."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ranklog.journal.append_fd import AppendFd
from ranklog.journal.descriptor import Descriptor
from ranklog.journal.layout import create_private


@pytest.fixture
def fd(tmp_path: Path) -> AppendFd:
    return AppendFd(Descriptor(create_private(tmp_path / "pieces", os.O_APPEND)))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_piece_appended_during_a_sync_waits_for_the_next_one(fd: AppendFd, tmp_path: Path) -> None:
    def wait(call: Callable[[], None]) -> None:
        fd.append(b"second")
        call()

    fd.append(b"first")
    fd.sync(wait)
    assert fd.unsynced == [b"second"]
    fd.sync()
    assert fd.unsynced == []
    assert (tmp_path / "pieces").read_bytes() == b"firstsecond"


def test_a_write_that_fails_during_a_sync_makes_the_sync_fail(fd: AppendFd) -> None:
    def wait(call: Callable[[], None]) -> None:
        fd.cut(fd.size)  # as the owner does after a failed append
        call()

    fd.append(b"first")
    with pytest.raises(OSError, match="a write failed while the file was synced"):
        fd.sync(wait)
    assert fd.unsynced == [b"first"]


def test_a_sync_leaves_no_descriptor_open(fd: AppendFd) -> None:
    before = open_descriptors()
    fd.append(b"first")
    fd.sync()
    assert open_descriptors() == before


def test_the_file_may_be_closed_during_a_sync(fd: AppendFd) -> None:
    def wait(call: Callable[[], None]) -> None:
        fd.close()
        call()

    fd.append(b"first")
    fd.sync(wait)
    assert not fd.is_open
