"""Starts Python scripts by forking a process that has imported torch, which costs each start 1.5 s of CPU time.

A script runs as with ``python script``: it has its own arguments, environment, directory and output, and its
interpreter ends as it always does. Each process that runs tests has one server, which ends with it.
"""

from __future__ import annotations

import functools
import gc
import importlib
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
from pathlib import Path
from typing import Any

PRELOADED = ("numpy", "torch", "torch.distributed")
MESSAGE_BYTES = 1 << 17
PATIENCE_S = 120.0


class Forked:
    """A process that the server has forked; offers what tests need of `subprocess.Popen`.

    Args:
        server: Tells the exit status.
        pid: The process.
        output: Descriptor of the pipe into which it writes.
    """

    def __init__(self, server: Server, pid: int, output: int) -> None:
        self._server = server
        self._pid = pid
        self._handle = os.pidfd_open(pid)
        self._output = output
        self._read: list[bytes] = []

    @property
    def returncode(self) -> int | None:
        """The exit status, None while the process runs."""
        return self._server.status(self._pid, 0.0)

    def readline(self) -> str:
        """Wait for the next line of the output."""
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._output, 1)):
            line += byte
        return line.decode()

    def communicate(self, timeout: float = PATIENCE_S) -> str:
        """Wait for the end; returns the output.

        Raises:
            TimeoutExpired: it did not end in time; the next call returns the whole output.
        """
        end_s = time.monotonic() + timeout
        while True:
            if not _is_readable(self._output, end_s):
                raise subprocess.TimeoutExpired(str(self._pid), timeout)
            if not (part := os.read(self._output, 1 << 16)):
                break
            self._read.append(part)
        if self._server.status(self._pid, end_s - time.monotonic()) is None:
            raise subprocess.TimeoutExpired(str(self._pid), timeout)
        return b"".join(self._read).decode(errors="replace")

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End the process, if it runs."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._handle)
        os.close(self._output)


def _is_readable(descriptor: int, end_s: float) -> bool:
    return bool(select.select([descriptor], [], [], max(0.0, end_s - time.monotonic()))[0])


class Server:
    """The client's end of a process to fork from.

    Args:
        channel: Connected to `serve`.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._ended: dict[int, int] = {}

    def start(self, *command: str, cwd: Path, env: Mapping[str, str]) -> Forked:
        """Run a script with arguments."""
        ours, theirs = os.pipe()
        pid = self.fork(command, str(cwd), env, theirs)
        os.close(theirs)
        return Forked(self, pid, ours)

    def fork(
        self, command: Sequence[str], cwd: str, env: Mapping[str, str], output: int, unbuffered: bool = False
    ) -> int:
        """Run a script that writes to a descriptor; returns the number of its process."""
        request = {"command": command, "cwd": cwd, "env": dict(env), "unbuffered": unbuffered}
        socket.send_fds(self._channel, [json.dumps(request).encode()], [output])
        while (pid := self._receive()) is None:
            pass
        return pid

    def status(self, pid: int, timeout_s: float) -> int | None:
        """Return the exit status of a process, or None if it does not end in time."""
        end_s = time.monotonic() + timeout_s
        while pid not in self._ended and _is_readable(self._channel.fileno(), end_s):
            self._receive()
        return self._ended.get(pid)

    def _receive(self) -> int | None:
        """Take one message: return the number of a new process, or note the end of one."""
        self._channel.settimeout(PATIENCE_S)
        told = json.loads(self._channel.recv(MESSAGE_BYTES))
        if "started" in told:
            return int(told["started"])
        self._ended[told["ended"]] = told["status"]
        return None


@functools.cache
def server() -> Server:
    """Return the server of this process, which starts at the first call."""
    ours, theirs = channel()
    with theirs:
        subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    return Server(ours)


def channel() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel between a client and `serve`."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def serve(client: socket.socket) -> tuple[dict[str, Any], int]:
    """Fork for each request; returns the request and the output's descriptor in the new process.

    Raises:
        SystemExit: The client has ended.
    """
    running: set[int] = set()

    def tell(**message: int) -> None:
        client.send(json.dumps(message).encode())

    def reap(*_: object) -> None:
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.remove(pid)
                tell(ended=pid, status=os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
    while True:
        data, descriptors, _, _ = socket.recv_fds(client, MESSAGE_BYTES, 1)
        if not data:
            sys.exit()
        # The end of a process must not be told before its start.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            return json.loads(data), descriptors[0]
        os.close(descriptors[0])
        running.add(pid)
        tell(started=pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def run(request: dict[str, Any], output: int) -> None:
    """Run a script as the main module of this process, which leads a session of its own."""
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
