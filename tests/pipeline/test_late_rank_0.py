"""Rank 1 logs files and models before rank 0 opens the run: they wait for the run directory, and nothing is lost."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from launch import torchrun

from ranklog.journal.layout import FACTS
from ranklog.model.errors import RanklogError
from ranklog.model.place import Place
from ranklog.model.record import Item
from ranklog.pipeline import contents
from ranklog.pipeline.contents import AwaitedRunDirError, RunDirectory
from ranklog.testing import captured

JOB = """
import os
import time
from pathlib import Path
import torch
import torch.distributed as dist
from ranklog import JournalLogger

dist.init_process_group("gloo")
rank = dist.get_rank()
Path(f"large-{rank}").write_bytes(bytes(5 * 2**20))
logger = JournalLogger("logs", run_id=RUN_ID, log_on_workers=-1)
if rank == 0 and RUN_ID:
    while not Path("logged").exists():
        time.sleep(0.05)
with logger.start_logging():
    logger.log(os.urandom(100_000), "bytes", "artifact", step=0)
    logger.log(f"large-{rank}", "large", "artifact", step=0)
    if RUN_ID:
        logger.log(torch.nn.Linear(2, 2), "model", "model", step=0)
        logger.log(torch.nn.Linear(1200, 1200), "larger", "model", step=0)
        logger.log(f"large-{rank}", "linked", "artifact", step=0, policy="immutable")
    Path("logged").touch()
    print("flushed", rank, logger.flush(), flush=True)
dist.destroy_process_group()
"""


def run(run_id: str | None, tmp_path: Path) -> tuple[str, list[str]]:
    done = torchrun(2, f"RUN_ID = {run_id!r}\n{JOB}", cwd=tmp_path)
    assert done.code == 0, done.output
    (facts,) = tmp_path.glob(f"logs/runs/*/{FACTS}")
    items = [record for record in captured(facts.parent) if isinstance(record, Item)]
    assert all((facts.parent / "blobs" / f.sha256).exists() for item in items for f in item.files if f.data is None)
    return done.output, sorted(item.name for item in items)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run_id", "names"), [("shared", ["bytes", "large", "larger", "linked", "model"]), (None, ["bytes", "large"])]
)
def test_files_of_rank_1_are_stored_without_a_warning(run_id: str | None, names: list[str], tmp_path: Path) -> None:
    output, stored = run(run_id, tmp_path)
    assert stored == [f"rank_00{rank}/{name}" for rank in (0, 1) for name in names]
    assert "flushed 0 True" in output and "flushed 1 True" in output
    assert "RanklogWarning" not in output, output


ALONE = """
from pathlib import Path
from ranklog import JournalLogger

Path("large").write_bytes(bytes(5 * 2**20))
logger = JournalLogger("logs", run_id="shared", log_on_workers=-1)
logger.create_logger_context(rank=1)
logger.log(bytes(100_000), "bytes", "artifact", step=0)
logger.log("large", "large", "artifact", step=0)
logger.destroy_logger_context(exit_timeout=1)
"""


@pytest.mark.slow
def test_a_run_directory_that_never_comes_names_what_is_lost(tmp_path: Path) -> None:
    environ = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "artifact 'bytes'" in done.stderr and "artifact 'large'" in done.stderr, done.stderr


class Seen:
    """A run directory of rank 1."""

    def __init__(self, tmp_path: Path) -> None:
        self.met = False
        self.run_id: str | None = "run"
        self.path = tmp_path / "run"
        self.directory = RunDirectory(
            Place(rank=1, world_size=2), tmp_path, ask_run_id=lambda _: self.run_id, met=lambda: self.met
        )

    def create(self) -> None:
        self.path.mkdir()
        (self.path / FACTS).write_bytes(b"")


def test_a_rank_looks_for_the_directory_only_after_it_met_rank_0(tmp_path: Path) -> None:
    """Else its file system may remember for half a minute that the name is not there."""
    seen = Seen(tmp_path)
    seen.create()
    with pytest.raises(AwaitedRunDirError):
        seen.directory.reach_now()
    seen.met = True
    assert seen.directory.reach_now() == seen.path


def test_a_rank_that_met_rank_0_waits_for_the_run_id_of_the_first_round(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    seen.create()
    seen.met, seen.run_id = True, None
    with pytest.raises(AwaitedRunDirError):
        seen.directory.reach_now()
    seen.run_id = "run"
    assert seen.directory.reach_now() == seen.path


def test_a_rank_waits_for_a_directory_that_its_file_system_does_not_show_yet(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    seen.met = True
    with pytest.raises(AwaitedRunDirError):
        seen.directory.reach_now()
    found: list[Path] = []
    waiting = threading.Thread(target=lambda: found.append(seen.directory.reach()))
    waiting.start()
    seen.create()
    waiting.join(60)
    assert found == [seen.path]


def test_the_error_at_the_time_limit_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "RUN_DIR_TIMEOUT_S", 0.0)
    with pytest.raises(RanklogError, match=r"open the logger on rank 0, too.*all ranks share"):
        Seen(tmp_path).directory.reach()
