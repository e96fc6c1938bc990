"""An opening that fails on one rank only: the next one is right on every rank."""

from pathlib import Path

import pytest
from launch import torchrun

from ranklog.journal.layout import find_runs
from ranklog.testing import captured, series

pytestmark = pytest.mark.slow

SCRIPT = """
import os
import torch.distributed as dist
from ranklog import JournalLogger
from ranklog.model.errors import RanklogError

dist.init_process_group("gloo")
rank = dist.get_rank()
failing, how = {failing}, {how!r}
if rank == failing and how == "variable":
    os.environ["RANKLOG_BUFFER_MIB"] = os.environ["RANKLOG_REDUCE_TIMEOUT"] = "none"
options = dict(run_id=3) if rank == failing and how == "option" else dict()
logger = JournalLogger("logs")
try:
    logger.create_logger_context(rank=1 - rank if rank == failing and how == "rank" else None, **options)
except RanklogError as error:
    print("refused on", rank, flush=True)
else:
    logger.destroy_logger_context(exit_timeout=3)
os.environ.pop("RANKLOG_BUFFER_MIB", None)
os.environ.pop("RANKLOG_REDUCE_TIMEOUT", None)
dist.barrier()
with logger.start_logging():
    logger.log(float(rank), "mean", step=0, reduce="mean")
    print("flushed", logger.flush(), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("how", ["variable", "option", "rank"])
@pytest.mark.parametrize("failing", [0, 1])
def test_the_next_opening_reduces_over_all_ranks(failing: int, how: str, tmp_path: Path) -> None:
    done = torchrun(2, SCRIPT.format(failing=failing, how=how), cwd=tmp_path)
    assert done.code == 0, done.output
    assert f"refused on {failing}" in done.output
    assert done.output.count("flushed True") == 2, done.output
    runs = find_runs(tmp_path)
    assert [series(captured(run), "mean") for run in runs][-1:] == [{0: 0.5}]
