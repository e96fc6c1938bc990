"""Children of a training and restarts of it: workers are inert, restarted ranks go on with their run."""

from pathlib import Path

import pytest
from launch import torchrun

from ranklog.journal.layout import find_runs
from ranklog.model.record import Attempt
from ranklog.testing import captured, series
from ranklog.view.query import RunView

pytestmark = pytest.mark.slow

# torch's own gloo group meets addresses of the attempt before in the store that the agent shares: it fails or hangs.
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}

LOADER = """
    import multiprocessing, os, sys
    import torch
    from torch.utils.data import DataLoader, Dataset
    from ranklog import JournalLogger

    class Data(Dataset):
        def __init__(self, logger):
            self.logger = logger

        def __len__(self):
            return 8

        def __getitem__(self, index):
            if self.logger is not None:
                self.logger.log(-1.0, "loss", step=index)  # by a worker: counts for nothing
            return torch.tensor(float(index))

    def child(number):
        os.write(1, f"child {number} ran\\n".encode())

    if __name__ == "__main__":
        torch.distributed.init_process_group("gloo")
        method = sys.argv[2]
        logger = JournalLogger(sys.argv[1], log_freq="batch", run_id="loaded")
        with logger.start_logging():
            # A spawned worker gets what can be sent to it, which a logger that is open cannot.
            data = Data(logger if method == "fork" else None)
            step = 0
            for epoch in range(2):
                loader = DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context=method)
                for batch in loader:
                    logger.log(batch.mean(), "loss", step=step, batch_idx=step, reduce="mean")
                    step += 1
            process = multiprocessing.get_context(method).Process(target=child, args=(torch.distributed.get_rank(),))
            process.start()
            process.join(120)
            assert process.exitcode == 0
        torch.distributed.destroy_process_group()
"""

RESTARTED = """
    import os, sys
    import torch
    from pathlib import Path
    from ranklog import JournalLogger

    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    restart = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    logger = JournalLogger(sys.argv[1])
    with logger.start_logging():
        for step in range(5 * restart, 5 * restart + 10):
            logger.log(float(restart), "loss", step=step, reduce="mean")
        logger.flush()
        torch.distributed.barrier()
        if restart < 2 and rank == 1:
            os._exit(1)
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_data_loaders_and_other_children_log_nothing_and_hold_nothing_up(
    method: str, tmp_path: Path
) -> None:
    done = torchrun(2, LOADER, str(tmp_path), method, cwd=tmp_path)
    assert done.code == 0, done.output
    assert "child 0 ran" in done.output and "child 1 ran" in done.output
    found = captured(tmp_path / "runs" / "loaded")
    expected = [0.5, 2.5, 4.5, 6.5] * 2
    assert series(found, "loss") == dict(enumerate(expected))
    assert RunView(tmp_path / "runs" / "loaded").summary.status == "FINISHED"


def test_ranks_that_torchrun_restarts_go_on_with_one_run(tmp_path: Path) -> None:
    done = torchrun(2, RESTARTED, str(tmp_path), cwd=tmp_path, options=("--max-restarts", "2"), **OWN_STORE)
    assert done.code == 0, done.output
    (run_dir,) = find_runs(tmp_path)
    view = RunView(run_dir)
    assert [(a.attempt, a.place.attempt, a.place.world_size) for a in view.attempts] == [(n, n, 2) for n in range(3)]
    assert [(p.step, p.value) for p in view.series("loss")] == [(step, float(min(step // 5, 2))) for step in range(20)]
    assert len(view.superseded("loss")) == 10
    assert view.summary.status == "FINISHED"
    assert len([record for record in captured(run_dir) if isinstance(record, Attempt)]) == 3
