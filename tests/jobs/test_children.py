"""Children of a training and restarts of it: workers are inert, restarted ranks go on with their run."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from children_job import HANDLERS
from fork_server import server as fork_server
from launch import job_environment, torchrun

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


def signalled(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).with_name("children_job.py")), *arguments]
    return subprocess.run(command, env=job_environment(), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_signal_does_to_a_child_what_it_does_in_plain_python(handler: str, tmp_path: Path) -> None:
    plain, logged = signalled("children", handler), signalled("children", handler, str(tmp_path))
    assert (plain.returncode, logged.returncode) == (0, 0), plain.stderr + logged.stderr
    expected = json.loads(plain.stdout)
    if handler == "on_preempt":
        # A handler of plain Python would keep a child alive; but SIGTERM is how a DataLoader ends its workers.
        for child in expected.values():
            assert child["SIGUSR1"] in ("lives, then 0", "ends with -10", "ends, then -10")
            child["SIGTERM"] = child["SIGTERM"].replace("lives, then 0", "ends with -15")
    assert json.loads(logged.stdout) == expected
    assert RunView(tmp_path / "runs" / "children").summary.status == "FINISHED"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_signal_does_to_the_program_what_it_does_in_plain_python(handler: str, number: str, tmp_path: Path) -> None:
    plain = signalled("program", handler, number, "open")
    logged = signalled("program", handler, number, "open", str(tmp_path))
    expected = (plain.returncode, plain.stdout)
    if (handler, number) == ("on_preempt", "SIGTERM"):
        expected = (-15, "")  # after the callback, so that the job ends
    assert (logged.returncode, logged.stdout) == expected, logged.stderr


def test_a_signal_that_was_asked_for_ends_nothing_after_the_logger_was_closed_either(tmp_path: Path) -> None:
    plain = signalled("program", "on_preempt", "SIGUSR1", "closed")
    logged = signalled("program", "on_preempt", "SIGUSR1", "closed", str(tmp_path))
    assert (logged.returncode, logged.stdout) == (plain.returncode, plain.stdout) == (0, "goes on\n")


LOADING = """
    import os, signal, sys
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    leave, number = [], signal.Signals[sys.argv[1]]
    if len(sys.argv) > 2:
        from ranklog import JournalLogger

        logger = JournalLogger(sys.argv[2], run_id="loading")
        logger.create_logger_context()
        logger.on_preempt(lambda: leave.append(1), signals=[number.name])
    else:
        signal.signal(number, lambda *_: leave.append(1))
    for epoch in range(2):
        loader = DataLoader(TensorDataset(torch.arange(4000)), batch_size=4, num_workers=2, persistent_workers=True)
        for step, _ in enumerate(loader):
            if step == 20:
                os.killpg(0, number)
        assert step == 999 and leave
    sys.exit(99)
"""


@pytest.mark.parametrize("number", ["SIGUSR1", "SIGUSR2"])
def test_workers_of_a_data_loader_live_on_when_a_scheduler_signals_every_process(number: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(LOADING))
    for arguments in ([number], [number, str(tmp_path)]):
        # The server puts it into a process group of its own, which gets the signal.
        process = fork_server().start(str(script), *arguments, cwd=tmp_path, env=job_environment())
        output = process.communicate()
        assert process.returncode == 99, output
    assert RunView(tmp_path / "runs" / "loading").summary.status == "KILLED"
