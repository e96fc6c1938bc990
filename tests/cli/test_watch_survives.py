"""`ranklog sync --watch` outlives a file system that goes away and comes back, and damaged run directories.

The mount is a symbolic link: while it is away, an empty directory is in its place, as after `umount`.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ranklog import CSVLogger
from ranklog.delivery.lock import LOCK
from ranklog.journal.cursor import load_cursors
from ranklog.journal.layout import FACTS

pytestmark = pytest.mark.slow


class Watch:
    """A running `ranklog sync --watch --json`."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-m", "ranklog.cli", "sync", str(directory), "--watch", "--every", "0.1", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    def has_said(self, text: str) -> bool:
        return any(text in line for line in self.said)

    def end(self) -> list[dict[str, Any]]:
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        self.process.wait(60)
        self._reader.join(60)
        return list(json.loads(out))


@pytest.fixture
def watch() -> Iterator[Callable[[Path], Watch]]:
    started: list[Watch] = []

    def start(directory: Path) -> Watch:
        started.append(Watch(directory))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def until(condition: Callable[[], object], watching: Watch) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert watching.process.poll() is None, f"the watch ended: {watching.said}"
        assert time.monotonic() < deadline_s, watching.said
        time.sleep(0.05)


def delivered(run_dir: Path) -> int:
    return max((cursor.next_ordinal for _, cursor in load_cursors(run_dir)), default=0)


def train(savedir: Path, run_id: str) -> Path:
    logger = CSVLogger(savedir, forward="later", run_id=run_id)
    with logger.start_logging():
        logger.log(0.5, "loss", step=0)
    return logger.run_dir


def test_a_watch_goes_on_after_its_file_system_was_away(watch: Callable[[Path], Watch], tmp_path: Path) -> None:
    server, mount = tmp_path / "server", tmp_path / "mount"
    logger = CSVLogger(server, forward="later", run_id="long")
    with logger.start_logging():
        mount.symlink_to(server)
        logger.log(0.0, "loss", step=0)
        assert logger.flush()
        watching = watch(mount)
        until(lambda: delivered(logger.run_dir), watching)
        mount.unlink()
        mount.mkdir()
        until(lambda: watching.has_said("long: cannot be delivered"), watching)
        for step in range(1, 50):
            logger.log(float(step), "loss", step=step)
        assert logger.flush()
        train(server, "other")
    assert list(mount.iterdir()) == [], "nothing is left where the file system belongs"
    mount.rmdir()
    mount.symlink_to(server)
    until(lambda: watching.has_said("long: FINISHED") and watching.has_said("other: FINISHED"), watching)
    assert not (logger.run_dir / LOCK).exists()
    assert {o["run_id"]: o["deliveries"][0]["waiting"] for o in watching.end()} == {"long": 0, "other": 0}


def test_run_directories_that_cannot_be_read_end_no_watch(watch: Callable[[Path], Watch], tmp_path: Path) -> None:
    no_facts, lost, no_cursors = (train(tmp_path, name) for name in ("no-facts", "lost", "no-cursors"))
    (no_facts / FACTS).write_bytes(b"\xc1")
    (lost / "journal-00001.rlj").symlink_to(tmp_path / "nowhere")
    (no_cursors / "cursors").write_bytes(b"no directory")
    watching = watch(tmp_path)
    until(lambda: watching.has_said("no-facts: cannot be delivered"), watching)
    good = train(tmp_path, "zz-later")
    until(lambda: watching.has_said("zz-later: FINISHED"), watching)
    assert delivered(good)
    said = {outcome["run_id"]: outcome["trouble"] for outcome in watching.end()}
    assert "cannot be read" in said["no-facts"]
    assert said["zz-later"] is None


def test_a_run_that_is_removed_after_it_was_delivered_is_no_failure(
    watch: Callable[[Path], Watch], tmp_path: Path
) -> None:
    removed = train(tmp_path, "removed")
    watching = watch(tmp_path)
    until(lambda: watching.has_said("removed: FINISHED"), watching)
    shutil.rmtree(removed)
    train(tmp_path, "zz-later")
    until(lambda: watching.has_said("zz-later: FINISHED"), watching)
    said = {outcome["run_id"]: (outcome["status"], outcome["trouble"]) for outcome in watching.end()}
    assert said == {"removed": ("FINISHED", None), "zz-later": ("FINISHED", None)}
    assert watching.process.returncode == 0
