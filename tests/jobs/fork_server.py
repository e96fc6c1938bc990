"""Server that forks Python scripts from a process which has imported torch, and its client.

Importing torch costs 1.5 s of CPU time, more than most scripts of tests need. A script that trains pays the same again,
because the first optimizer or `DistributedDataParallel` imports ``torch._dynamo``. A forked script runs as with
``python script``: it gets its own arguments, environment, directory and output, and its interpreter ends normally.
Each process that runs tests has one server, which ends together with it.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

PRELOADED = ("numpy", "torch", "torch.distributed", "torch._dynamo")
MESSAGE_BYTES = 1 << 17
PATIENCE_S = 120.0


class Started(NamedTuple):
    """Process that a server started, with its number there, because the system uses a process id again."""

    pid: int
    number: int


class Forked:
    """Process forked by the server, with the part of `subprocess.Popen` that tests need.

    Args:
        server: Server that knows the exit status.
        process: The process.
        output: Read end of the pipe for stdout and stderr.
    """

    def __init__(self, server: Server, process: Started, output: int) -> None:
        self._server = server
        self._process = process
        try:
            self._handle: int | None = os.pidfd_open(process.pid)
        except ProcessLookupError:  # it has ended already
            self._handle = None
        self._output = output
        self._read: list[bytes] = []

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, None while the process runs."""
        return self._server.status(self._process, 0.0)

    def readline(self) -> str:
        """Wait for the next line of the output."""
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._output, 1)):
            line += byte
        return line.decode()

    def communicate(self, timeout: float = PATIENCE_S) -> str:
        """Wait until the process has ended; returns its output.

        Raises:
            TimeoutExpired: The process did not end in time. The next call returns the whole output.
        """
        end_s = time.monotonic() + timeout
        while True:
            if not _is_readable(self._output, end_s):
                raise subprocess.TimeoutExpired(str(self._process.pid), timeout)
            if not (part := os.read(self._output, 1 << 16)):
                break
            self._read.append(part)
        if self._server.status(self._process, end_s - time.monotonic()) is None:
            raise subprocess.TimeoutExpired(str(self._process.pid), timeout)
        return b"".join(self._read).decode(errors="replace")

    def send_signal(self, number: int) -> None:
        """Send a signal if the process still runs."""
        if self._handle is not None and self.returncode is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """Kill the process if it still runs."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        for descriptor in (self._handle, self._output):
            if descriptor is not None:
                os.close(descriptor)


def _is_readable(descriptor: int, end_s: float) -> bool:
    return bool(select.select([descriptor], [], [], max(0.0, end_s - time.monotonic()))[0])


class Server:
    """Client of a fork server.

    Args:
        channel: Channel to the process that runs `serve`.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._ended: dict[int, int] = {}

    def start(self, *command: str, cwd: Path, env: Mapping[str, str], output: IO[bytes] | None = None) -> Forked:
        """Run a script with arguments, whose output goes to a file if one is given."""
        ours, theirs = os.pipe()
        process = self.fork(command, str(cwd), env, theirs if output is None else output.fileno())
        os.close(theirs)
        return Forked(self, process, ours)

    def fork(
        self, command: Sequence[str], cwd: str, env: Mapping[str, str], output: int, unbuffered: bool = False
    ) -> Started:
        """Run a script whose output goes to a descriptor."""
        request = {"command": command, "cwd": cwd, "env": dict(env), "unbuffered": unbuffered}
        socket.send_fds(self._channel, [json.dumps(request).encode()], [output])
        while (process := self._receive()) is None:
            pass
        return process

    def status(self, process: Started, timeout_s: float) -> int | None:
        """Return the exit status of a process, or None if it does not end in time."""
        end_s = time.monotonic() + timeout_s
        while process.number not in self._ended and _is_readable(self._channel.fileno(), end_s):
            self._receive()
        return self._ended.get(process.number)

    def _receive(self) -> Started | None:
        """Receive one message: return a new process, or store an exit status."""
        self._channel.settimeout(PATIENCE_S)
        data = self._channel.recv(MESSAGE_BYTES)
        assert data, "the fork server has ended"
        told = json.loads(data)
        if "started" in told:
            return Started(told["started"], told["number"])
        self._ended[told["ended"]] = told["status"]
        return None


@functools.cache
def server() -> Server:
    """Return the server of this process; the first call starts it."""
    ours, theirs = channel()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def stop() -> None:
        ours.close()
        process.wait(PATIENCE_S)

    atexit.register(stop)
    return Server(ours)


def channel() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel between a client and `serve`."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def serve(client: socket.socket) -> tuple[dict[str, Any], int]:
    """Fork once per request; returns in the new process, with the request and the descriptor of the output.

    Raises:
        SystemExit: The client has ended.
    """
    running: dict[int, int] = {}
    numbers = itertools.count()

    def tell(**message: int) -> None:
        client.send(json.dumps(message).encode())

    def reap(*_: object) -> None:
        for pid in list(running):
            with suppress(ChildProcessError):  # another child's signal interrupted this, and its handler was faster
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    tell(ended=running.pop(pid), status=os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
    while True:
        data, descriptors, _, _ = socket.recv_fds(client, MESSAGE_BYTES, 1)
        if not data:
            sys.exit()
        # The client must hear of the start of a process before its end.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            return json.loads(data), descriptors[0]
        os.close(descriptors[0])
        running[pid] = next(numbers)
        tell(started=pid, number=running[pid])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def run(request: dict[str, Any], output: int) -> None:
    """Run a script as the main module of this process, in a new session."""
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["command"]
    script = Path(sys.argv[0])
    sys.path[:1] = [str(script.parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.stdout.reconfigure(write_through=request["unbuffered"])  # type: ignore[union-attr]
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    sys.modules["__main__"] = main
    exec(compile(script.read_bytes(), script, "exec"), main.__dict__)


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as client:
        asked = serve(client)
    run(*asked)
