"""Helpers that run user scripts with torchrun, or rank by rank as a scheduler does, on the loopback interface."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from fork_server import server as fork_server

AGENT = Path(__file__).with_name("torchrun.py")
TORCHRUN = ("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0")
"""Options of every job. Port 0 lets each job choose a free port."""


class Finished(msgspec.Struct, frozen=True):
    """Exit status and output of a job."""

    code: int
    output: str


def job_environment(**extra: str) -> dict[str, str]:
    """Return the environment of a user's shell on this machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **extra}


def torchrun(
    ranks: int,
    script: str | Path,
    *arguments: str,
    cwd: Path,
    timeout_s: float = 120,
    options: Sequence[str] = (),
    **extra: str,
) -> Finished:
    """Run a script, given as text or path, with torchrun; returns the output of all ranks together.

    Args:
        ranks: Number of ranks.
        script: Script of each rank.
        arguments: Arguments of the script.
        cwd: Working directory.
        timeout_s: Seconds until it counts as hung.
        options: More options of torchrun.
        extra: More environment variables.
    """
    if isinstance(script, str):
        path = cwd / "train.py"
        path.write_text(textwrap.dedent(script))
    else:
        path = script
    words = (*TORCHRUN, *options, str(path), *arguments)
    return run_agent(ranks, *words, cwd=cwd, timeout_s=timeout_s, env=job_environment(**extra))


def run_agent(ranks: int, *words: str, cwd: Path, timeout_s: float, env: Mapping[str, str]) -> Finished:
    """Run torchrun with these arguments; returns the output of all ranks together."""
    agent = fork_server().start(str(AGENT), "--nproc-per-node", str(ranks), *words, cwd=cwd, env=env)
    try:
        output = agent.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        agent.send_signal(signal.SIGTERM)  # the agent ends its ranks
        raise AssertionError(f"the job hung; its output so far:\n{agent.communicate()}") from None
    assert agent.returncode is not None
    return Finished(agent.returncode, output)


class Ranks:
    """Ranks of one torch job without an agent: when one dies, the others go on.

    Args:
        size: Number of ranks.
        script: Script of each rank.
        arguments: Arguments of the script.
        cwd: Working directory.
        per_node: Ranks per node. Default: all ranks are on one node.
        extra: More environment variables.
    """

    def __init__(
        self, size: int, script: Path, *arguments: str, cwd: Path, per_node: int | None = None, **extra: str
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        per_node = per_node or size
        self._processes = [
            fork_server().start(
                str(script),
                *arguments,
                cwd=cwd,
                env=job_environment(
                    **extra,
                    MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=str(port),
                    WORLD_SIZE=str(size),
                    LOCAL_WORLD_SIZE=str(per_node),
                    RANK=str(rank),
                    LOCAL_RANK=str(rank % per_node),
                    GROUP_RANK=str(rank // per_node),
                ),
            )
            for rank in range(size)
        ]

    def finish(self, ranks: Sequence[int], timeout_s: float = 120) -> dict[int, Finished]:
        """Wait until these ranks have ended."""
        done: dict[int, Finished] = {}
        for rank in ranks:
            process = self._processes[rank]
            try:
                output = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"rank {rank} hangs; its output so far:\n{process.communicate()}") from None
            assert process.returncode is not None
            done[rank] = Finished(process.returncode, output)
        return done

    def wait_for_line(self, rank: int) -> str:
        """Wait for the next line that a rank prints."""
        return self._processes[rank].readline()

    def send(self, rank: int, number: signal.Signals) -> None:
        """Send a signal to one rank."""
        self._processes[rank].send_signal(number)

    def go_on(self, rank: int) -> None:
        """Continue a stopped rank."""
        self._processes[rank].send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the ranks that still run."""
        for process in self._processes:
            process.kill()
