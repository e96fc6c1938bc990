"""A program whose children a signal meets: ``children_job.py children|program HANDLER [SAVEDIR]``, see `test_children`.

Without SAVEDIR it is plain Python, with it a logger is open. HANDLER says when the program sets a handler of its own.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
HANDLERS = ("none", "before", "after", "ignored", "on_preempt")
"""When the program sets a handler: "on_preempt" is `signal.signal` in plain Python."""

handled: list[int] = []


def handle(number: int, frame: object) -> None:
    handled.append(number)


def answer(line: Connection) -> None:
    """What a child does: give back what it gets."""
    while (asked := line.recv_bytes()) != b"end":
        line.send_bytes(asked)


def forked(fork: Callable[[], int], child: Callable[[Connection], None] = answer) -> tuple[Connection, int]:
    ours, theirs = Pipe()
    pid = fork()
    if pid == 0:
        ours.close()
        child(theirs)
        os._exit(0)
    theirs.close()
    return ours, pid


def end(line: Connection, pid: int, number: signal.Signals, join: Callable[[], int]) -> str:
    """Send the signal, then ask: a child that lives answers, after its handler has run."""
    try:
        line.send_bytes(b"begun?")
        line.recv_bytes()
        os.kill(pid, number)
        line.send_bytes(b"alive?")
        line.recv_bytes()
        line.send_bytes(b"end")
        return f"lives, then {join()}"
    except (EOFError, OSError):
        return f"ends with {join()}"


def forked_child(number: signal.Signals, fork: Callable[[], int] = os.fork) -> str:
    line, pid = forked(fork)
    return end(line, pid, number, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def forked_from_a_thread(number: signal.Signals) -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(forked_child(number)))
    thread.start()
    thread.join()
    return found[0]


def forked_by_c(number: signal.Signals) -> str:
    """As by a library: Python's fork hooks do not run."""
    return forked_child(number, ctypes.PyDLL(None).fork)


def grandchild(number: signal.Signals) -> str:
    def child(line: Connection) -> None:
        line.send_bytes(forked_child(number).encode())

    line, pid = forked(os.fork, child)
    found = line.recv_bytes().decode()
    os.waitpid(pid, 0)
    return found


def started(number: signal.Signals, method: str) -> str:
    ours, theirs = Pipe()
    process: Any = multiprocessing.get_context(method).Process(target=answer, args=(theirs,))  # type: ignore[attr-defined]
    process.start()
    theirs.close()

    def join() -> int:
        process.join()
        return int(process.exitcode)

    return end(ours, process.pid, number, join)


def other_program(number: signal.Signals) -> str:
    """A program of C, which has what it inherits."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None and process.stdout is not None
    with process:
        process.stdin.write(b"begun?")
        process.stdout.read(6)
        process.send_signal(number)
        try:
            process.stdin.write(b"alive?")
        except BrokenPipeError:
            pass
        lives = process.stdout.read(6) == b"alive?"
        process.stdin.close()
        return f"{'lives' if lives else 'ends'}, then {process.wait()}"


def other_program_of_a_child(number: signal.Signals) -> str:
    def child(line: Connection) -> None:
        line.send_bytes(other_program(number).encode())

    line, pid = forked(os.fork, child)
    found = line.recv_bytes().decode()
    os.waitpid(pid, 0)
    return found


CHILDREN: dict[str, Callable[[signal.Signals], str]] = {
    "os.fork": forked_child,
    "os.fork from a thread": forked_from_a_thread,
    "fork by C": forked_by_c,
    "fork of a fork": grandchild,
    "multiprocessing fork": lambda number: started(number, "fork"),
    "multiprocessing spawn": lambda number: started(number, "spawn"),
    "multiprocessing forkserver": lambda number: started(number, "forkserver"),
    "subprocess": other_program,
    "subprocess of a fork": other_program_of_a_child,
}


def prepare(handler: str, savedir: str) -> Any:
    """Open a logger and set the handlers, in the order that is asked for."""
    if handler in ("before", "ignored"):
        for number in SIGNALS:
            signal.signal(number, handle if handler == "before" else signal.SIG_IGN)
    logger = None
    if savedir:
        from ranklog import JournalLogger

        logger = JournalLogger(savedir, run_id="children")
        logger.create_logger_context()
        logger.log(1.0, "x", step=0)
    if handler == "after" or (handler == "on_preempt" and logger is None):
        for number in SIGNALS if handler == "after" else SIGNALS[1:]:
            signal.signal(number, handle)
    elif handler == "on_preempt":
        logger.on_preempt(lambda: handled.append(0), signals=[each.name for each in SIGNALS[1:]])
    return logger


def children(handler: str, savedir: str = "") -> None:
    logger = prepare(handler, savedir)
    found = {kind: {each.name: child(each) for each in SIGNALS} for kind, child in CHILDREN.items()}
    print(json.dumps(found))
    assert not handled, "a signal to a child came to its parent"
    if logger is not None:
        logger.destroy_logger_context()


def program(handler: str, number: str, when: str, savedir: str = "") -> None:
    """The signal comes to the program itself, while a logger is open or after it was closed."""
    logger = prepare(handler, savedir)
    if when == "closed" and logger is not None:
        logger.destroy_logger_context()
    os.kill(os.getpid(), signal.Signals[number])
    if savedir and handler in ("none", "on_preempt") and number == "SIGTERM":
        time.sleep(60)  # a thread of ranklog ends the program
    print("goes on")


if __name__ == "__main__":
    {"children": children, "program": program}[sys.argv[1]](*sys.argv[2:])
