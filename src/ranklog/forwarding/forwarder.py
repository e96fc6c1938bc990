"""Starts the forwarder of a run: as a child process, as a thread, or not at all (``forward="later"``).

The child process is started by module name, so the training process imports no backend. It gets a pipe with one-byte
messages: the journal has grown (`MORE`), efficiency is wanted (`EFFICIENCY`), the run is closed (`ALL`), stop now
(`ENOUGH`). End of file means that the training process is gone. On its standard output it answers `DELIVERED`, then the
efficiency line. It has its own session and the lowest priority. It starts with signals blocked, because schedulers send
them to every process of a job, and unblocks them once it can handle them. A worker of Ray starts it as a
grandchild, because Ray kills the children of a worker that ends.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ranklog.abc import Forwarder, ForwarderEnd
from ranklog.forwarding.environment import child_environment
from ranklog.journal.descriptor import Descriptor
from ranklog.model.spec import Forward
from ranklog.process.warnings import Health
from ranklog.world.ray import in_ray_worker

MORE, EFFICIENCY, ALL, ENOUGH = b".", b"E", b"A", b"S"
DELIVERED = b"delivered\n"
LEFT = 3
"""Exit status of a forwarder that leaves something for `ranklog sync`."""
SENT_TO_ALL = frozenset(
    (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
)  # fmt: skip
"""Signals that schedulers, launchers and terminals send to every process of a job."""
_REPORT_BYTES = 65536
_AS_GRANDCHILD = ("-I", "-S", "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], close_fds=False))")
"""Arguments of a Python that runs a command, passes its exit status on, and may be killed without it."""


def start_forwarder(
    forward: Forward, run_dir: Path, *, secrets: Mapping[str, str], console: bool, health: Health
) -> Forwarder:
    """Start delivery of a run whose journal exists.

    Args:
        forward: Where it runs.
        run_dir: The run directory.
        secrets: Environment variables for the child process only.
        console: Whether the console backend is used, so that the child process needs our standard output.
        health: Takes warnings.
    """
    try:
        if forward == "process":
            return _ForwarderProcess(run_dir, secrets, console)
        if forward == "thread":
            return _ForwarderThread(run_dir)
    except (OSError, ImportError, RuntimeError) as error:
        health.warn("forwarder", f"cannot start the forwarder ({error}); deliver later with  ranklog sync {run_dir}")
    return _NoForwarder(run_dir)


class _NoForwarder:
    """For ``forward="later"``."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._wants_line = False

    def wake(self) -> None:
        """Do nothing: `ranklog sync` delivers later."""

    def is_gone(self) -> bool:
        return False

    def ask_efficiency(self) -> None:
        self._wants_line = True

    def close(self, timeout_s: float) -> ForwarderEnd:
        return ForwarderEnd("delivered", _efficiency_line(self._run_dir, timeout_s) if self._wants_line else "")

    def forget(self) -> None:
        """Do nothing: there is nothing to inherit."""


class _ForwarderThread:
    def __init__(self, run_dir: Path) -> None:
        # By name: the training process imports the delivery side only when a user asks for this.
        module: Any = importlib.import_module("ranklog.delivery.thread")
        self._thread: Any = module.ForwardThread(run_dir, console=sys.stdout)
        self._run_dir = run_dir
        self._wants_line = False

    def wake(self) -> None:
        self._thread.wake()

    def is_gone(self) -> bool:
        return bool(self._thread.ended)

    def ask_efficiency(self) -> None:
        self._wants_line = True

    def close(self, timeout_s: float) -> ForwarderEnd:
        deadline = time.monotonic() + timeout_s
        if not self._thread.close(timeout_s=timeout_s):
            return ForwarderEnd("left")
        left_s = deadline - time.monotonic()
        return ForwarderEnd("delivered", _efficiency_line(self._run_dir, left_s) if self._wants_line else "")

    def forget(self) -> None:
        """Do nothing: a thread does not survive a fork."""


def _efficiency_line(run_dir: Path, timeout_s: float) -> str:
    module: Any = importlib.import_module("ranklog.delivery.efficiency")
    return str(module.efficiency_line(run_dir, min(timeout_s, module.TIME_S), module.BYTES_IN_TRAINING))


class _ForwarderProcess:
    def __init__(self, run_dir: Path, secrets: Mapping[str, str], console: bool) -> None:
        with ExitStack() as failed, ExitStack() as passed:
            orders, self._orders = _pipe()
            passed.callback(orders.close_quietly)
            failed.callback(self._orders.close_quietly)
            self._orders.call(os.set_blocking, False)
            self._report, report = _pipe()
            passed.callback(report.close_quietly)
            failed.callback(self._report.close_quietly)
            self._report.call(os.set_blocking, False)
            command = [sys.executable, "-m", "ranklog.delivery", str(run_dir)]
            inherited: list[int] = []
            if console:
                out = Descriptor(os.dup(_stdout_fd()))
                passed.callback(out.close_quietly)
                inherited = [out.number]
                command += ["--console-fd", str(out.number)]
            if in_ray_worker():
                command = [sys.executable, *_AS_GRANDCHILD, *command]
            with _blocked(SENT_TO_ALL):
                self._process = subprocess.Popen(
                    command,
                    stdin=orders.number,
                    stdout=report.number,
                    stderr=subprocess.DEVNULL,
                    env=child_environment(os.environ, secrets),
                    start_new_session=True,
                    pass_fds=inherited,
                    cwd=run_dir,
                )
            failed.pop_all()

    def wake(self) -> None:
        self._tell(MORE)

    def ask_efficiency(self) -> None:
        self._tell(EFFICIENCY)

    def _tell(self, message: bytes) -> None:
        with suppress(OSError):
            # A full pipe wakes the child all the same. One that died is noticed at the next check.
            self._orders.call(os.write, message)

    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def forget(self) -> None:
        self._orders.close_quietly()
        self._report.close_quietly()

    def close(self, timeout_s: float) -> ForwarderEnd:
        self._tell(ALL)
        status: int | None = None
        report = b""
        try:
            status = self._process.wait(timeout=max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            self._tell(ENOUGH)
        finally:
            with suppress(OSError):  # BlockingIOError: it has answered nothing
                report = self._report.call(os.read, _REPORT_BYTES)
            self.forget()
        if report.startswith(DELIVERED) or status == 0:
            return ForwarderEnd("delivered", report.removeprefix(DELIVERED).decode(errors="replace").strip())
        return ForwarderEnd("left" if status in (LEFT, None) else "died")


def _pipe() -> tuple[Descriptor, Descriptor]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return Descriptor(reader), Descriptor(writer)


@contextmanager
def _blocked(signals: frozenset[signal.Signals]) -> Iterator[None]:
    """Block signals in this thread; a process that it starts begins with them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stdout_fd() -> int:
    try:
        sys.stdout.flush()
        return sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # closed, or replaced by something without a descriptor
        return 1
