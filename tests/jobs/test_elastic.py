"""Restarts by torchrun's agents: one run, right means and full coverage in each attempt."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from elastic import LIMIT_S, await_value, only_run
from fork_server import Forked
from fork_server import server as fork_server
from launch import AGENT, job_environment

from ranklog.view.query import RunView

pytest.importorskip("torch.distributed")
pytestmark = pytest.mark.slow
JOB = Path(__file__).with_name("elastic_job.py")


class Job:
    """The agents of one job, and what their workers log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.agents: dict[str, Forked] = {}

    def start(self, agent: str, *options: str, **environ: str) -> None:
        with (self.folder / f"{agent}.txt").open("ab") as output:
            self.agents[agent] = fork_server().start(
                str(AGENT), "--nproc-per-node", "1", "--max-restarts", "3", "--monitor-interval", "0.1",
                *options, str(JOB),
                cwd=self.folder,
                env=job_environment(
                    FOLDER=str(self.folder), AGENT=agent, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1", **environ
                ),
                output=output,
            )  # fmt: skip

    def start_c10d(self, agent: str, nodes: str, **environ: str) -> None:
        meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{self.port}", "--rdzv-id", "again"]
        # The rendezvous does not outlive the agent that serves it, so it is always A.
        conf = f"last_call_timeout=1,is_host={int(agent == 'A')}"
        self.start(agent, "--nnodes", nodes, *meet, "--rdzv-conf", conf, **environ)

    def finish(self) -> None:
        """Have all workers end, and wait for their agents."""
        (self.folder / "enough").touch()
        for name, agent in self.agents.items():
            agent.communicate(LIMIT_S)
            assert agent.returncode == 0, (self.folder / f"{name}.txt").read_text()

    def kill(self, agent: str) -> None:
        """Kill an agent and its workers, as the loss of a node does."""
        process = self.agents.pop(agent)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):  # some end by themselves without their agent
                worker.kill()
        process.communicate(LIMIT_S)

    def await_value(self, attempt: int, value: float, coverage: str) -> None:
        """Wait for a value of an attempt, and check all of that attempt."""
        await_value(self.folder, attempt, value, coverage)

    def view(self) -> RunView:
        """The run, which must be the only one."""
        return only_run(self.folder)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    for agent in list(job.agents):
        if job.agents[agent].returncode is None:
            job.kill(agent)


@pytest.mark.parametrize("fails", ["A", "B"])
def test_a_worker_that_fails_on_either_agent_makes_one_more_attempt_of_one_run_with_right_means(
    job: Job, fails: str
) -> None:
    for agent in "AB":
        job.start_c10d(agent, "2", FAILS=fails)
    job.await_value(1, 1.5, "2/2")
    job.finish()
    assert [point.value for point in job.view().series("loss")] == [1.5] * len(job.view().series("loss"))
    assert job.view().summary.status == "FINISHED"


def test_an_agent_that_is_killed_and_started_again_joins_the_next_attempt_of_the_run(job: Job) -> None:
    job.start_c10d("A", "1:2")
    job.start_c10d("B", "1:2")
    job.await_value(0, 1.5, "2/2")
    job.kill("B")
    job.await_value(1, 1.0, "1/1")
    job.start_c10d("B", "1:2")
    job.await_value(2, 1.5, "2/2")
    job.finish()
    assert [attempt.place.world_size for attempt in job.view().attempts] == [2, 1, 2]


def test_agents_that_join_and_leave_make_attempts_of_two_and_three_ranks(job: Job) -> None:
    job.start_c10d("A", "2:3")
    job.start_c10d("B", "2:3")
    job.await_value(0, 1.5, "2/2")
    job.start_c10d("C", "2:3")
    job.await_value(1, 2.0, "3/3")
    job.kill("C")
    job.await_value(2, 1.5, "2/2")
    job.finish()
    assert [attempt.place.world_size for attempt in job.view().attempts] == [2, 3, 2]
