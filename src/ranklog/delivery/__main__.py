"""The forwarder process: ``python -m ranklog.delivery RUN_DIR [--console-fd FD]``, started by rank 0.

Standard input is a pipe from the trainer: a byte says that the journal has grown, its end that the trainer
has closed the run or is gone. Then what is journaled is delivered and the run closed in its backends, with
the status in the journal or, without one, as KILLED. Client libraries' noise goes to ``delivery.log`` in the
run directory.

Exit status: 0 all delivered; 2 wrong call; 3 something is left for ``ranklog sync``. SIGINT is ignored, since Ctrl-C
is meant for the trainer. So is the first SIGTERM, which a cluster sends to every process of a job that it cancels;
it only cuts the time for what is left when the trainer is gone to `STOP_S`, so that the run is not left open. A
second one, or one after the trainer closed the run in an orderly way, ends the forwarder after the batch in hand.
"""

from __future__ import annotations

import argparse
import atexit
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from ranklog.delivery.note import note, open_log
from ranklog.delivery.thread import ForwardThread
from ranklog.journal.reader import last_end

LINGER = "RANKLOG_LINGER_S"
LINGER_S = 300.0
STOP_S = 20.0
TIDY_S = 5.0
LEFT = 3
_OVER = b"\0"


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
    _serve(thread, run_dir, signals[0])
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
    """Make signals into bytes of a pipe, each its number; returns both ends."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return reader, writer


def _report_end(thread: ForwardThread, writer: int) -> None:
    """Write a byte that is no signal when the thread comes to its end."""

    def report() -> None:
        thread.join()
        os.write(writer, _OVER)

    threading.Thread(target=report, name="ranklog-end", daemon=True).start()


def _serve(thread: ForwardThread, run_dir: Path, signals: int) -> None:
    """Pass on the trainer's wake-ups until its pipe ends, then wait for the rest; as SIGTERM says, or shorter."""
    terms = 0
    inputs = [signals, 0]
    deadline_s: float | None = None
    while not (thread.over and 0 not in inputs):
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        readable, _, _ = select.select(inputs, [], [], left_s)
        if not readable:
            return
        if 0 in readable:
            if os.read(0, 65536):
                thread.wake()
            else:
                inputs.remove(0)
                thread.end("KILLED")
                deadline_s = time.monotonic() + (STOP_S if terms else _linger_s())
        if signals in readable and (new := os.read(signals, 4096).count(signal.SIGTERM)):
            terms += new
            gone = 0 not in inputs
            if terms > 1 or (gone and _is_closed(run_dir)):
                thread.stop(STOP_S)
                return
            if gone:  # the same signal ended the trainer a moment before
                deadline_s = time.monotonic() + STOP_S


def _is_closed(run_dir: Path) -> bool:
    """Whether the trainer closed the run in an orderly way."""
    try:
        return last_end(run_dir) is not None
    except OSError:
        return False


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
