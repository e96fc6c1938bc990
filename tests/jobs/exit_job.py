"""Programs that end in many ways: ``exit_job.py CASE [SAVEDIR]``, without a logger where no SAVEDIR is given."""

import _thread
import argparse
import asyncio
import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

CODES: dict[str, Any] = {
    "none": None, "zero": 0, "three": 3, "true": True, "false": False, "minus_one": -1, "two_bytes": 256, "huge": 2**70,
    "message": "no data", "no_message": "", "float": 0.0, "list": [], "surrogate": "\udc80",
}  # fmt: skip


class Leaving(SystemExit):
    """A SystemExit of the program's own."""


def exception() -> None:
    raise ValueError("the weights are gone")


def caught_exception() -> None:
    with contextlib.suppress(ValueError):
        exception()


def interrupt() -> None:
    raise KeyboardInterrupt


def raised() -> None:
    raise SystemExit(3)


def raised_class() -> None:
    raise SystemExit


def raised_subclass() -> None:
    raise Leaving(4)


def raised_deep() -> None:
    def deep(left: int) -> NoReturn:
        try:
            raise SystemExit(3) if left == 0 else deep(left - 1)
        finally:
            del left

    deep(20)


def builtin_exit() -> None:
    exit(3)


def builtin_quit() -> None:
    quit(3)


def several_values() -> None:
    sys.exit((1, 2))  # type: ignore[arg-type]


def instance() -> None:
    sys.exit(SystemExit(5))  # type: ignore[arg-type]


def changed_code() -> None:
    error = SystemExit(2)
    error.code = 6
    raise error


def caught() -> None:
    with contextlib.suppress(SystemExit):
        sys.exit(2)


def caught_and_read() -> None:
    try:
        sys.exit(2)
    except SystemExit as error:
        assert error.code == 2


def caught_then_another() -> None:
    caught_and_read()
    raise SystemExit(5)


def another_from_finally() -> None:
    try:
        sys.exit(2)
    finally:
        sys.exit(4)


def success_from_finally() -> None:
    try:
        raise ValueError("replaced")
    finally:
        sys.exit(0)


def in_a_thread() -> None:
    thread = threading.Thread(target=sys.exit, args=(2,))
    thread.start()
    thread.join()


def in_a_bare_thread() -> None:
    done = threading.Event()

    def leave() -> None:
        done.set()
        raise SystemExit(2)

    _thread.start_new_thread(leave, ())
    done.wait()


def from_a_signal_handler() -> None:
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(7))
    signal.raise_signal(signal.SIGUSR2)


def from_a_coroutine() -> None:
    async def leave() -> None:
        sys.exit(8)

    asyncio.run(leave())


def from_an_exception_hook_called_by_hand() -> None:
    try:
        exception()
    except ValueError:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]


def with_a_hook_that_calls_no_other() -> None:
    sys.excepthook = lambda *error: print("the program failed")
    raise ValueError("the weights are gone")


def with_another_exception_hook() -> None:
    before = sys.excepthook
    sys.excepthook = lambda *error: before(*error)
    exception()


def with_another_exit() -> None:
    before = sys.exit
    sys.exit = lambda status=None: before(status)  # type: ignore[assignment]
    sys.exit(3)


def wrong_arguments() -> None:
    argparse.ArgumentParser().parse_args(["--unknown"])


def a_program_within() -> None:
    """As a test runner calls others."""
    sys.argv[1:] = ["raised"]
    with contextlib.suppress(SystemExit):
        runpy.run_path(__file__, run_name="__main__")


def a_program_within_that_ends_this() -> None:
    sys.argv[1:] = ["raised"]
    runpy.run_path(__file__, run_name="__main__")


def forked_child() -> None:
    child = os.fork()
    if child == 0:
        sys.exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


def child_process() -> None:
    for method in ("fork", "spawn"):
        process = multiprocessing.get_context(method).Process(target=sys.exit, args=(5,))
        process.start()
        process.join()
        assert process.exitcode == 5


CASES: dict[str, Callable[[], None]] = {
    case.__name__: case
    for case in (
        exception, caught_exception, interrupt, raised, raised_class, raised_subclass, raised_deep, builtin_exit,
        builtin_quit, several_values, instance, changed_code, caught, caught_and_read, caught_then_another,
        another_from_finally, success_from_finally, in_a_thread, in_a_bare_thread, from_a_signal_handler,
        from_a_coroutine, from_an_exception_hook_called_by_hand, with_another_exception_hook, with_another_exit,
        with_a_hook_that_calls_no_other,
        wrong_arguments, a_program_within, a_program_within_that_ends_this, forked_child, child_process,
    )
}  # fmt: skip


def main(case: str, savedir: str = "") -> None:
    if savedir:
        from ranklog import JournalLogger

        logger = JournalLogger(savedir, run_id="ended")
        logger.create_logger_context()
        logger.log(1.0, "x", step=0)
    if case in CODES:
        sys.exit(CODES[case])
    CASES[case]()


if __name__ == "__main__":
    main(*sys.argv[1:])
