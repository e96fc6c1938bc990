"""A training that receives a signal and prints one line per mark on standard output; see `test_signals`."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sized
from pathlib import Path
from types import FrameType
from typing import Any

from ranklog import JournalLogger
from ranklog.view.query import RunView

FOREVER_S = 600.0


def say(mark: str) -> None:
    os.write(1, f"{mark}\n".encode())


def log_some(logger: JournalLogger) -> None:
    for step in range(100):
        logger.log_metrics({"loss": float(step)}, step=step)


def open_logger(savedir: str, **options: Any) -> JournalLogger:
    logger = JournalLogger(savedir, run_id="signalled", **options)
    logger.create_logger_context()
    return logger


def plain(savedir: str) -> None:
    log_some(open_logger(savedir))
    say("ready")
    time.sleep(FOREVER_S)


def collective(savedir: str) -> None:
    """Rank 0 waits in an all_reduce of its own group for a rank that does not come."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    log_some(open_logger(savedir))
    if dist.get_rank() == 0:
        say("ready")
        dist.barrier()
    time.sleep(FOREVER_S)


def idle(until: Sized = ()) -> None:
    """Wait in short steps: a signal that comes just before a long call would run its handler only after it."""
    end_s = time.monotonic() + FOREVER_S
    while not len(until) and time.monotonic() < end_s:
        time.sleep(0.05)


def earlier_handler(savedir: str) -> None:
    ended: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: (say("earlier handler"), ended.append(True)))
    logger = open_logger(savedir)
    log_some(logger)
    say("ready")
    idle(until=ended)
    logger.destroy_logger_context()
    say(f"handler put back: {signal.getsignal(signal.SIGTERM).__name__ == '<lambda>'}")  # type: ignore[union-attr]


def later_handler(savedir: str) -> None:
    """Lightning's way: a handler set after the logger calls the earlier one, and is gone when the program goes on."""
    ended: list[bool] = []
    logger = open_logger(savedir)
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        say("later handler")
        assert callable(before)
        before(number, frame)
        signal.signal(signal.SIGTERM, before)
        ended.append(True)

    signal.signal(signal.SIGTERM, end)
    log_some(logger)
    say("ready")
    idle(until=ended)
    wait_for_event(savedir)
    logger.destroy_logger_context()  # waits for the thread that would end the process
    say("own ending")


def closed_below_another_handler(savedir: str) -> None:
    """The logger is closed while another handler is set, which then puts ours back."""
    logger = open_logger(savedir)
    before = signal.getsignal(signal.SIGTERM)
    log_some(logger)
    signal.signal(signal.SIGTERM, lambda *_: None)
    logger.destroy_logger_context()
    signal.signal(signal.SIGTERM, before)
    say("ready")
    idle()


def closed_by_a_callback_of_another_handler(savedir: str) -> None:
    """A later handler calls ours, whose callback closes the logger."""
    ended: list[bool] = []
    logger = open_logger(savedir)
    logger.on_preempt(logger.destroy_logger_context)
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        say("later handler")
        assert callable(before)
        before(number, frame)
        ended.append(True)

    signal.signal(signal.SIGTERM, end)
    log_some(logger)
    say("ready")
    idle(until=ended)
    say("own ending")


def wait_for_event(savedir: str) -> None:
    """Wait until the signal is in the journal."""
    while not any(event.code == "signal" for event in RunView(Path(savedir) / "runs" / "signalled").events):
        time.sleep(0.05)


def callback(savedir: str) -> None:
    logger = open_logger(savedir)

    def save() -> None:
        logger.log_metrics({"saved": 1.0}, step=100)
        say(f"saved in {threading.current_thread().name}")

    logger.on_preempt(save)
    log_some(logger)
    say("ready")
    idle()


def usr1(savedir: str) -> None:
    called: list[bool] = []
    logger = open_logger(savedir)
    logger.on_preempt(lambda: called.append(True), signals=["SIGUSR1"])
    log_some(logger)
    say("ready")
    idle(until=called)
    logger.log_metrics({"after": 1.0}, step=0)
    logger.destroy_logger_context()


def leaving(savedir: str) -> None:
    logger = open_logger(savedir)
    logger.on_preempt(lambda: sys.exit(0))
    log_some(logger)
    say("ready")
    idle()


def closing(savedir: str) -> None:
    logger = open_logger(savedir)
    logger.on_preempt(logger.destroy_logger_context)
    log_some(logger)
    say("ready")
    idle()


def asyncio_loop(savedir: str) -> None:
    """An event loop takes the wake-up descriptor for itself and does not pass its bytes on."""
    log_some(open_logger(savedir))

    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, say, "loop handler")
        say("ready")
        await asyncio.sleep(FOREVER_S)

    asyncio.run(main())


def wakeup_descriptor(savedir: str) -> None:
    mine, theirs = socket.socketpair()
    for end in (mine, theirs):
        end.setblocking(False)
    signal.set_wakeup_fd(mine.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    logger = open_logger(savedir)
    say("ready")
    theirs.setblocking(True)
    say(f"byte {theirs.recv(1)[0]}")
    logger.destroy_logger_context()
    say(f"descriptor put back: {signal.set_wakeup_fd(-1) == mine.fileno()}")


def forked(savedir: str) -> None:
    """A child, as a DataLoader makes them, ends at SIGTERM as any process does; the parent is not told."""
    logger = open_logger(savedir)
    log_some(logger)
    child = os.fork()
    if child == 0:
        say("ready")
        time.sleep(FOREVER_S)
    say(f"child {child}")
    _, status = os.waitpid(child, 0)
    say(f"child ended by signal {os.WTERMSIG(status)}")
    logger.destroy_logger_context()


def exit_status(savedir: str) -> None:
    log_some(open_logger(savedir))
    sys.exit(3)


CASES: dict[str, Callable[[str], None]] = {
    case.__name__: case
    for case in (
        plain, collective, earlier_handler, callback, usr1, leaving, closing, asyncio_loop, wakeup_descriptor, forked,
        exit_status, later_handler, closed_below_another_handler, closed_by_a_callback_of_another_handler,
    )
}  # fmt: skip

if __name__ == "__main__":
    CASES[sys.argv[1]](sys.argv[2])
