"""torchrun for the fork server: the unchanged agent of torch, with ranks that are forked too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fork_server import Server, Started, channel, run, serve


class Rank:
    """Forked rank, with the part of `subprocess.Popen` that the agent needs."""

    def __init__(self, server: Server, process: Started) -> None:
        self._server = server
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._server.status(self._process, 0.0)

    def wait(self, timeout: float) -> int:
        """Wait until the process has ended."""
        if (status := self._server.status(self._process, timeout)) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return status


def main(server: Server) -> None:
    """Run the agent; it forks its ranks from a server."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    def start(_: SubprocessHandler, command: Sequence[str], env: Mapping[str, str]) -> Rank:
        python, unbuffered, *script = command
        assert (python, unbuffered) == (sys.executable, "-u"), command
        return Rank(server, server.fork(script, str(Path.cwd()), env, output=1, unbuffered=True))

    SubprocessHandler._popen = start
    torchrun.main()


if __name__ == "__main__":
    agent, ranks = channel()
    # The server forks from here, where this process still has a single thread.
    if os.fork() == 0:
        agent.close()
        with ranks:
            asked = serve(ranks)
        run(*asked)
    else:
        ranks.close()
        main(Server(agent))
