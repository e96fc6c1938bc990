"""The forwarder process: ``python -m ranklog.delivery RUN_DIR [--console-fd FD]``, started by rank 0.

Standard input is a pipe from the trainer: ``.`` says that the journal has grown, ``A`` that the trainer has closed the
run, ``S`` that it waits no longer, and the end of the pipe that the trainer is gone. After ``A`` or the end, what is
journaled is delivered and the run closed in its backends, with the status in the journal or, without one, as KILLED.
After ``S`` the batch in hand is the last one. Client libraries' noise goes to ``delivery.log`` in the run directory.

Exit status: 0 all delivered; 2 wrong call; 3 something is left for ``ranklog sync``.

Schedulers, launchers and terminals send signals to every process of a job. While the trainer lives, none ends the
forwarder: SIGHUP, SIGINT, SIGUSR1, SIGUSR2 and SIGXCPU are ignored, and SIGTERM only cuts the time for what is left
after the run is over to `STOP_S`, so that the run is not left open. Once the trainer is gone, a second SIGTERM ends the
forwarder after the batch in hand. Processes that backends start inherit this: what is ignored stays ignored,
and SIGTERM is blocked.
"""

from __future__ import annotations

import argparse
import atexit
import math
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from ranklog.backends.shared.delivery_log import note, open_log
from ranklog.delivery.thread import ForwardThread

LINGER = "RANKLOG_LINGER_S"
LINGER_S = 300.0
STOP_S = 20.0
TIDY_S = 5.0
LEFT = 3
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
_OVER = b"\0"
_ALL, _ENOUGH = b"AS"


def main(argv: list[str]) -> int:
    """Run the forwarder; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ranklog.delivery", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--console-fd", type=int, default=None, help="inherited descriptor for the console backend")
    args = parser.parse_args(argv)
    run_dir: Path = args.run_dir.absolute()
    if not run_dir.is_dir():
        parser.error(f"{run_dir} is no directory")
    _yield_to_training()
    signals = _catch_signals()
    console = _redirect(run_dir, args.console_fd)
    thread = ForwardThread(run_dir, console)
    _report_end(thread, signals[1])
    # In this thread only: the others, and the processes that they start, keep SIGTERM blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, *IGNORED))
    _serve(thread, signals[0])
    if thread.over:
        _tidy()
    if thread.delivered:
        return 0
    note(run_dir, f"something is left: run `ranklog sync {run_dir}`")
    return LEFT


def _yield_to_training() -> None:
    try:
        os.nice(19)
    except OSError:
        pass  # the priority is a courtesy


def _redirect(run_dir: Path, console_fd: int | None) -> TextIO:
    """Send this process's output to the log; returns the stream for the console backend."""
    console = os.dup(console_fd if console_fd is not None else 1)
    if console_fd is not None:
        os.close(console_fd)
    try:
        log = open_log(run_dir)
    except OSError:  # a full disk: delivery needs no log
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    return os.fdopen(console, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def _catch_signals() -> tuple[int, int]:
    """Make signals into bytes of a pipe, each its number; returns both ends. SIGTERM is blocked from here on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return reader, writer


def _report_end(thread: ForwardThread, writer: int) -> None:
    """Write a byte that is no signal when the thread comes to its end."""

    def report() -> None:
        thread.join()
        os.write(writer, _OVER)

    threading.Thread(target=report, name="ranklog-end", daemon=True).start()


def _serve(thread: ForwardThread, signals: int) -> None:
    """Pass on what the trainer says until the run is over, then wait for the rest; shorter after SIGTERM."""
    terminated = terminated_alone = over = False
    inputs = [signals, 0]
    deadline_s = math.inf
    while not (thread.over and over):
        left_s = None if deadline_s == math.inf else max(0.0, deadline_s - time.monotonic())
        readable, _, _ = select.select(inputs, [], [], left_s)
        if not readable:
            return
        if 0 in readable:
            said = os.read(0, 65536)
            if _ENOUGH in said:
                thread.stop(STOP_S)
                return
            thread.wake()
            if not said:
                inputs.remove(0)
            if not over and (not said or _ALL in said):
                over = True
                thread.end("KILLED")
                deadline_s = time.monotonic() + (STOP_S if terminated else _linger_s())
        if signals in readable and os.read(signals, 4096).count(signal.SIGTERM):
            terminated = True
            if over:
                deadline_s = min(deadline_s, time.monotonic() + STOP_S)
            if 0 not in inputs:
                if terminated_alone:
                    thread.stop(STOP_S)
                    return
                terminated_alone = True


def _linger_s() -> float:
    try:
        return float(os.environ[LINGER])
    except (KeyError, ValueError):
        return LINGER_S


def _tidy() -> None:
    """Let client libraries put away their temporary files, which they do at an exit that this process does not make."""
    tidy = threading.Thread(target=atexit._run_exitfuncs, name="ranklog-tidy", daemon=True)
    tidy.start()
    tidy.join(TIDY_S)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Not sys.exit: a client library's threads that hang must not keep this process alive.
    os._exit(status)
