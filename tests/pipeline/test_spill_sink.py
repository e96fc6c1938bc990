"""What a rank keeps when the ranks can no longer talk is on the disk when its flush says so."""

import errno
import os
from pathlib import Path

import pytest

from ranklog.journal.spill_file import read_spill, spill_files
from ranklog.pipeline.reduction.merge import SpillSink
from ranklog.reduce.spill.format import SpillHead, pack, unpack


def test_a_sync_that_fails_says_so_and_the_next_one_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = SpillSink(1, lambda: tmp_path)
    assert sink.sync(), "nothing is kept yet"
    head = SpillHead(1, 2, "broken", 0, (0, 0))
    sink.write("abc", pack([head]))

    def refuse(fd: int) -> None:
        os.ftruncate(fd, 0)  # as where the kernel drops what it had
        raise OSError(errno.EIO, "refused")

    monkeypatch.setattr(os, "fdatasync", refuse)
    assert not sink.sync()
    monkeypatch.undo()
    assert sink.sync()
    sink.end()
    (file,) = spill_files(tmp_path)
    assert [item for packet in read_spill(file.path) for item in unpack(packet)] == [head]
