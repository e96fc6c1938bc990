"""Kills processes that index a run, and compares what the next one answers: ``kills_job.py FOLDER``."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journals import write

from ranklog.model.record import Metrics
from ranklog.view.index import run_index, tables
from ranklog.view.index.run_index import RunIndex
from ranklog.view.index.series import rows_of

ROWS = 64
KILLS = 200


def rows(first: int) -> list[Metrics]:
    return [Metrics(step, step, -1, {"loss": step / 7, "lr": 0.1}) for step in range(first, first + ROWS)]


def losses(run_dir: Path, root: Path) -> list[float]:
    """Values of a metric, from an index that saves nothing."""
    index = RunIndex(run_dir, root)
    index.refresh()
    found = rows_of(index.tables, "loss").value.tolist()
    index.tables.store.close()
    index._lock.release()
    return found


def kill_at(call: int) -> None:
    """Kill this process at a later call that writes, syncs or renames, the one of this number, half-way."""
    left = itertools.count(call - 1, -1)

    def cut(kept: Callable[..., object], half: Callable[..., object] | None = None) -> Callable[..., object]:
        def call(*arguments: Any, **options: Any) -> object:
            if not next(left):
                if half is not None:
                    half(*arguments, **options)
                os.kill(os.getpid(), signal.SIGKILL)
            return kept(*arguments, **options)

        return call

    pwrite = os.pwrite
    os.pwrite = cut(pwrite, lambda fd, data, offset: pwrite(fd, bytes(data)[: len(data) // 2], offset))
    for name in ("fdatasync", "fsync", "ftruncate"):
        setattr(os, name, cut(getattr(os, name)))
    Path.replace = cut(Path.replace)


def killed(run_dir: Path, root: Path, call: int) -> bool:
    """Index in a child that is killed at a call; returns whether it got that far."""
    if (pid := os.fork()) == 0:
        status = 1
        try:
            run_index.SAVE_RECORDS, run_index.SAVE_PAUSE_FACTOR = 20, 0.0
            kill_at(call)
            index = RunIndex(run_dir, root)
            index.refresh()
            index.close()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


def kill_often(run_dir: Path, root: Path) -> None:
    write(run_dir, 0, rows(0))
    kills, length = 0, ROWS
    while kills < KILLS:
        call = 1
        while killed(run_dir, root, call):
            kills, call = kills + 1, call + 1
            assert losses(run_dir, root) == [step / 7 for step in range(length)]
        assert call > 5  # it was killed at each of several writes
        for _ in range(3):
            write(run_dir, 0, rows(length))
            length += ROWS


if __name__ == "__main__":
    tables.BLOCK_ROWS = ROWS
    kill_often(Path(sys.argv[1], "run"), Path(sys.argv[1], "cache"))
