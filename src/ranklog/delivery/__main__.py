"""The forwarder process: ``python -m ranklog.delivery RUN_DIR [--console-fd FD]``, started by rank 0.

Standard input is a pipe from the trainer: a byte says that the journal has grown, its end that the trainer
has closed the run or is gone. Then what is journaled is delivered and the run closed in its backends, with
the status in the journal or, without one, as KILLED. Client libraries' noise goes to ``delivery.log`` in the
run directory.

Exit status: 0 all delivered; 2 wrong call; 3 something is left for ``ranklog sync``. SIGTERM ends it after
the batch in hand; SIGINT is ignored, since Ctrl-C is meant for the trainer.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from pathlib import Path
from typing import TextIO

from ranklog.delivery.note import note, open_log
from ranklog.delivery.thread import ForwardThread

LINGER = "RANKLOG_LINGER_S"
LINGER_S = 300.0
STOP_S = 20.0
LEFT = 3


def main(argv: list[str]) -> int:
    """Run the forwarder; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ranklog.delivery", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--console-fd", type=int, default=None, help="inherited descriptor for the console backend")
    args = parser.parse_args(argv)
    run_dir: Path = args.run_dir.absolute()
    if not run_dir.is_dir():
        parser.error(f"{run_dir} is no directory")
    console = _redirect(run_dir, args.console_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    thread = ForwardThread(run_dir, console)
    stopped = _on_sigterm(thread)
    if not _follow(thread, stopped):
        thread.stop(STOP_S)
        return LEFT
    if thread.close(_linger_s(), status="KILLED"):
        return 0
    note(run_dir, f"something is left: run `ranklog sync {run_dir}`")
    return LEFT


def _redirect(run_dir: Path, console_fd: int | None) -> TextIO:
    """Send this process's output to the log; returns the stream for the console backend."""
    console = os.dup(console_fd if console_fd is not None else 1)
    if console_fd is not None:
        os.close(console_fd)
    log = open_log(run_dir)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    return os.fdopen(console, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def _on_sigterm(thread: ForwardThread) -> int:
    """Stop the thread at SIGTERM; returns a descriptor that becomes readable then, to wake `select`."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: thread.request_stop())
    return reader


def _follow(thread: ForwardThread, stopped: int) -> bool:
    """Pass on the trainer's wake-ups until its pipe ends; False when stopped before."""
    while True:
        readable, _, _ = select.select([0, stopped], [], [])
        if stopped in readable:
            return False
        if not os.read(0, 65536):
            return not thread.stopping
        thread.wake()


def _linger_s() -> float:
    try:
        return float(os.environ[LINGER])
    except (KeyError, ValueError):
        return LINGER_S


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Not sys.exit: a client library's threads that hang must not keep this process alive.
    os._exit(status)
