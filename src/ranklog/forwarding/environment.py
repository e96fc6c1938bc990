"""Starts and ends the delivery side from rank 0: as a child process, as a thread, or not at all.

The child is started by name and never imported: it gets a pipe on which a byte means "there is more" (`MORE`), "that
was all" (`ALL`) or "stop now" (`ENOUGH`), and end of file means "the trainer is gone". It has its own session and the
lowest priority, sees no accelerator and none of the launcher's variables, and receives secrets through its environment
only. It begins with signals blocked, since schedulers send them to every process of a job, and unblocks them once it
can take them.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from ranklog.journal.descriptor import Descriptor
from ranklog.model.spec import Forward
from ranklog.model.uri import absolute_uri
from ranklog.process.health import Health

_LAUNCHER_PREFIXES = (
    "OMPI_",
    "PMI_",
    "PMIX_",
    "PRTE_",
    "MPI_",
    "MV2_",
    "HOROVOD_",
    "PALS_",
    "JSM_",
    "TORCHELASTIC_",
)
_LAUNCHER_NAMES = frozenset(
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
     "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LD_PRELOAD", "PYTHONSTARTUP")
)  # fmt: skip
_PATHS = frozenset(
    ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "WANDB_CONFIG_DIR",
     "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
     "OTEL_EXPORTER_OTLP_CERTIFICATE")
)  # fmt: skip
_ADDRESSES = frozenset(("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))

MORE, ALL, ENOUGH = b".", b"A", b"S"
LEFT = 3
"""Exit status of a forwarder that leaves something for `ranklog sync`."""
SENT_TO_ALL = frozenset(
    (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
)  # fmt: skip
"""Signals that schedulers, launchers and terminals send to every process of a job."""

Outcome = Literal["delivered", "left", "died"]


class Forwarder(Protocol):
    """The delivery side as its starter sees it."""

    def wake(self) -> None:
        """Say that there is more; never blocks, never raises."""

    def is_gone(self) -> bool:
        """Whether it has come to an end by itself, which it should not while the trainer lives."""

    def close(self, timeout_s: float) -> Outcome:
        """Let it finish, and end it in any case; "left" is for `ranklog sync`, one that "died" did not get that far."""

    def forget(self) -> None:
        """In a forked child: close what was inherited, so that the parent's end is still seen."""


def child_environment(environ: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, str]:
    """The environment of the forwarder: that of training without launcher and accelerator, plus secrets."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _LAUNCHER_NAMES and not name.startswith(_LAUNCHER_PREFIXES)
    }
    kept.update(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1", RANKLOG_FORWARDER="1")
    if path := kept.get("PYTHONPATH"):
        kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in path.split(os.pathsep) if part)  # noqa: PTH100
    # The child works in the run directory; what is relative is meant from here.
    for name in _PATHS & kept.keys():
        kept[name] = os.path.abspath(kept[name])  # noqa: PTH100
    for name in _ADDRESSES & kept.keys():
        kept[name] = absolute_uri(kept[name])
    kept.update(secrets)
    return kept


def start_forwarder(
    forward: Forward, run_dir: Path, *, secrets: Mapping[str, str], console: bool, health: Health
) -> Forwarder:
    """Start the delivery side for a run whose journal exists.

    Args:
        forward: Where it runs.
        run_dir: The run directory.
        secrets: Environment variables for the child only.
        console: Whether a backend prints for people, so that the child needs our standard output.
        health: Takes trouble.
    """
    try:
        if forward == "process":
            return _Child(run_dir, secrets, console)
        if forward == "thread":
            return _Thread(run_dir)
    except (OSError, ImportError) as error:
        health.warn("forwarder", f"delivery cannot be started ({error}): `ranklog sync {run_dir}` delivers later")
    return _Nothing()


class _Nothing:
    def wake(self) -> None:
        """Nobody listens: `ranklog sync` delivers later."""

    def is_gone(self) -> bool:
        return False

    def close(self, timeout_s: float) -> Outcome:
        return "delivered"

    def forget(self) -> None:
        """Nothing was inherited."""


class _Thread:
    def __init__(self, run_dir: Path) -> None:
        # By name: the training side imports nothing of the delivery side unless this is asked for.
        module: Any = importlib.import_module("ranklog.delivery.thread")
        self._inner: Any = module.ForwardThread(run_dir, console=sys.stdout)

    def wake(self) -> None:
        self._inner.wake()

    def is_gone(self) -> bool:
        return bool(self._inner.over)

    def close(self, timeout_s: float) -> Outcome:
        return "delivered" if self._inner.close(timeout_s=timeout_s) else "left"

    def forget(self) -> None:
        """A thread does not live on in a forked child."""


class _Child:
    def __init__(self, run_dir: Path, secrets: Mapping[str, str], console: bool) -> None:
        with ExitStack() as failed, ExitStack() as passed:
            read_end, self._write_end = (Descriptor(number) for number in os.pipe2(os.O_CLOEXEC))
            passed.callback(read_end.let_go)
            failed.callback(self._write_end.let_go)
            self._write_end.call(os.set_blocking, False)
            command = [sys.executable, "-m", "ranklog.delivery", str(run_dir)]
            inherited: list[int] = []
            if console:
                out = Descriptor(os.dup(_stdout_fd()))
                passed.callback(out.let_go)
                inherited = [out.number]
                command += ["--console-fd", str(out.number)]
            with _blocked(SENT_TO_ALL):
                self._process = subprocess.Popen(
                    command,
                    stdin=read_end.number,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=child_environment(os.environ, secrets),
                    start_new_session=True,
                    pass_fds=inherited,
                    cwd=run_dir,
                )
            failed.pop_all()

    def wake(self) -> None:
        self._say(MORE)

    def _say(self, what: bytes) -> None:
        with suppress(OSError):
            # A full pipe already says it; a child that is gone is told about when the run closes.
            self._write_end.call(os.write, what)

    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def forget(self) -> None:
        self._write_end.let_go()

    def close(self, timeout_s: float) -> Outcome:
        self._say(ALL)
        try:
            status = self._process.wait(timeout=max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            self._say(ENOUGH)
            return "left"
        finally:
            self.forget()
        return "delivered" if status == 0 else "left" if status == LEFT else "died"


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
