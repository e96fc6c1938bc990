"""torchrun for the fork server: the agent is torch's own, and forks its ranks instead of starting interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fork_server import Server, channel, run, serve


class Rank:
    """A process that the agent has started; offers what the agent needs of `subprocess.Popen`."""

    def __init__(self, server: Server, pid: int) -> None:
        self._server = server
        self.pid = pid

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._server.status(self.pid, 0.0)

    def wait(self, timeout: float) -> int:
        """Wait for the end."""
        if (status := self._server.status(self.pid, timeout)) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return status


def main(server: Server) -> None:
    """Run the agent."""
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
    # Now, while this process has a single thread.
    if os.fork() == 0:
        agent.close()
        with ranks:
            asked = serve(ranks)
        run(*asked)
    else:
        ranks.close()
        main(Server(agent))
