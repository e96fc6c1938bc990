"""The forwarder process: ``python -m ranklog.delivery RUN_DIR [--console-fd FD]``, started by rank 0.

Standard input is a pipe from the training process with one-byte messages: ``.`` the journal has grown, ``E`` the
efficiency line is wanted, ``A`` the run is closed, ``S`` stop now. End of file means that the training process is gone.
After ``A`` or end of file, the forwarder delivers the rest of the journal. It then closes the run in its backends with
the status in the journal, or as KILLED when there is none. After ``S`` it finishes the current batch and ends.

Standard output gets ``delivered`` when every backend has everything, then the efficiency line if it was asked for.
Output of client libraries goes to ``delivery.log`` in the run directory.

Exit status: 0 everything is delivered; 2 wrong arguments; 3 something is left for ``ranklog sync``.

Schedulers, launchers and terminals send signals to every process of a job. During training, none of them ends the
forwarder. It ignores SIGHUP, SIGINT, SIGUSR1, SIGUSR2 and SIGXCPU. After SIGTERM, it has `STOP_S` seconds from the end
of the run, so that backends do not show the run as running forever. Once the training process is gone, a second SIGTERM
ends the forwarder after the current batch. Child processes of backends inherit the ignored signals and have SIGTERM
blocked.
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
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ranklog.backends.shared.delivery_log import note, open_log
from ranklog.delivery.efficiency import efficiency_line
from ranklog.delivery.thread import ForwardThread

LINGER = "RANKLOG_LINGER_S"
LINGER_S = 300.0
STOP_S = 20.0
CLEAN_UP_S = 5.0
LEFT = 3
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
_ENDED = b"\0"
_ALL, _ENOUGH, _EFFICIENCY = b"ASE"
DELIVERED = b"delivered\n"


def main(argv: list[str]) -> int:
    """Run the forwarder; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ranklog.delivery", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--console-fd", type=int, default=None, help="inherited descriptor for the console backend")
    args = parser.parse_args(argv)
    run_dir: Path = args.run_dir.absolute()
    if not run_dir.is_dir():
        parser.error(f"{run_dir} is not a directory")
    _yield_to_training()
    signals = _catch_signals()
    report = os.dup(1)
    console = _redirect(run_dir, args.console_fd)
    thread = ForwardThread(run_dir, console)
    _report_end(thread, signals[1])
    # In this thread only: the others, and the processes that they start, keep SIGTERM blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, *IGNORED))
    wants_efficiency = _serve(thread, signals[0])
    if thread.delivered:
        _answer(report, run_dir, efficiency=wants_efficiency)
    if thread.ended:
        _clean_up()
    if thread.delivered:
        return 0
    note(run_dir, f"records are left: deliver them with `ranklog sync {run_dir}`")
    return LEFT


def _answer(report: int, run_dir: Path, *, efficiency: bool) -> None:
    """Report that everything is delivered, before anything that takes time."""
    with suppress(OSError):  # the training process is gone
        os.write(report, DELIVERED)
        if efficiency:
            os.write(report, efficiency_line(run_dir).encode())


def _yield_to_training() -> None:
    try:
        os.nice(19)
    except OSError:
        pass  # a normal priority costs training little


def _redirect(run_dir: Path, console_fd: int | None) -> TextIO:
    """Send this process's output to the log; returns the stream for the console backend."""
    if console_fd is None:
        console = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    else:
        console = os.dup(console_fd)
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
    """Turn each signal into a byte of a pipe; returns both ends. SIGTERM is blocked from here on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return reader, writer


def _report_end(thread: ForwardThread, writer: int) -> None:
    """Write a byte that is no signal number when the thread ends."""

    def report() -> None:
        thread.join()
        os.write(writer, _ENDED)

    threading.Thread(target=report, name="ranklog-end", daemon=True).start()


def _serve(thread: ForwardThread, signals: int) -> bool:
    """Act on messages until the run is over, then wait for delivery; returns whether efficiency was asked for."""
    terminated = terminated_again = run_ended = wants_efficiency = False
    inputs = [signals, 0]
    deadline_s = math.inf
    while not (thread.ended and run_ended):
        left_s = None if deadline_s == math.inf else max(0.0, deadline_s - time.monotonic())
        readable, _, _ = select.select(inputs, [], [], left_s)
        if not readable:
            break
        if 0 in readable:
            messages = os.read(0, 65536)
            wants_efficiency = wants_efficiency or _EFFICIENCY in messages
            if _ENOUGH in messages:
                thread.stop(STOP_S)
                break
            thread.wake()
            if not messages:
                inputs.remove(0)
            if not run_ended and (not messages or _ALL in messages):
                run_ended = True
                thread.end("KILLED")
                deadline_s = time.monotonic() + (STOP_S if terminated else _linger_s())
        if signals in readable and os.read(signals, 4096).count(signal.SIGTERM):
            terminated = True
            if run_ended:
                deadline_s = min(deadline_s, time.monotonic() + STOP_S)
            if 0 not in inputs:
                if terminated_again:
                    thread.stop(STOP_S)
                    break
                terminated_again = True
    return wants_efficiency


def _linger_s() -> float:
    try:
        return float(os.environ[LINGER])
    except (KeyError, ValueError):
        return LINGER_S


def _clean_up() -> None:
    """Run exit handlers, in which client libraries delete temporary files: `os._exit` would skip them."""
    cleaner = threading.Thread(target=atexit._run_exitfuncs, name="ranklog-cleanup", daemon=True)
    cleaner.start()
    cleaner.join(CLEAN_UP_S)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Not sys.exit: it would wait for threads of client libraries, which may hang.
    os._exit(status)
