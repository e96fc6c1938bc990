"""A training whose disk stalls: calls of the journal wait until the file FAULT_WHILE is gone; see `test_stalled_disk`.

Prints one JSON object. Nothing here waits by time: the program itself ends the stall, after the call that must not wait
for it has returned.
"""

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from ranklog import CSVLogger, JournalLogger
from ranklog.model.errors import RanklogWarning

STEPS = 50
STALL = Path(os.environ["FAULT_WHILE"])
STALLED = Path(os.environ["FAULT_STALL"])
MANY = 20_000


def start(savedir: Path) -> JournalLogger:
    """An open logger with something journaled and the same again waiting for the disk that stalls."""
    logger = JournalLogger(savedir, run_id="stalled")
    logger.create_logger_context()
    log_some(logger, 0)
    assert logger.flush()
    STALL.touch()
    log_some(logger, STEPS)
    while not STALLED.exists():
        time.sleep(0.005)
    return logger


def log_some(logger: JournalLogger, first: int) -> None:
    for step in range(first, first + STEPS):
        logger.log(float(step), "loss", step=step)


def is_inside(thread: int, function: str) -> bool:
    """Whether a thread is inside a function of this name now."""
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


def when_main_is_inside(function: str, then: Callable[[], object]) -> threading.Thread:
    """Do something once the main thread is inside a function, from another thread."""
    main = threading.main_thread().ident or 0

    def watch() -> None:
        while not is_inside(main, function):
            time.sleep(0.005)
        then()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def flush_case(savedir: Path) -> dict[str, object]:
    logger = start(savedir)
    during = logger.flush(1)
    stalled = STALL.exists()
    STALL.unlink()
    after = logger.flush()
    logger.destroy_logger_context()
    return {"during": during, "stalled": stalled, "after": after}


def close_case(savedir: Path) -> dict[str, object]:
    logger = start(savedir)
    logger.destroy_logger_context(exit_timeout=3)
    stalled = STALL.exists()
    STALL.unlink()
    return {"stalled": stalled}


def delivery_case(savedir: Path) -> dict[str, object]:
    """The journal is closed, but reading the progress of delivery stalls, here and in the forwarder."""
    logger = CSVLogger(savedir, run_id="stalled")
    logger.create_logger_context()
    logger.log(0.0, "loss", step=0)
    assert logger.flush()
    STALL.touch()
    logger.log(1.0, "loss", step=1)
    waited = logger.wait_delivered(1)
    logger.destroy_logger_context(exit_timeout=2)
    stalled = STALL.exists()
    STALL.unlink()
    return {"waited": waited, "stalled": stalled}


def items_case(savedir: Path) -> dict[str, object]:
    """Contents of items, in the run directory, wait for the disk."""
    logger = start(savedir)
    large = savedir.with_name("large")
    large.write_bytes(bytes(5 * 2**20))
    for number in range(3):
        logger.log(os.urandom(100_000), f"item{number}", "artifact", step=0)
    logger.log(str(large), "large", "artifact", step=0)
    during = logger.flush(1)
    logger.destroy_logger_context(exit_timeout=2)
    stalled = STALL.exists()
    STALL.unlink()
    return {"during": during, "stalled": stalled}


def term_case(savedir: Path) -> dict[str, object]:
    start(savedir)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
    raise AssertionError("SIGTERM ends the process")


def hook_case(savedir: Path) -> dict[str, object]:
    """A callback at close hangs."""
    logger = JournalLogger(savedir, run_id="stalled")
    logger.create_logger_context()
    logger.log(0.0, "loss", step=0)
    hangs = threading.Event()
    session = logger._session
    assert session is not None
    session.at_close(lambda: bool(hangs.wait()) and None)
    logger.destroy_logger_context(exit_timeout=2)
    return {}


def interrupt_case(savedir: Path) -> dict[str, object]:
    """Ctrl-C comes while closing waits for the disk, which then answers."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with SIGINT ignored
    logger = start(savedir)

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        STALL.unlink()

    when_main_is_inside("destroy_logger_context", interrupt)
    interrupted = False
    try:
        logger.destroy_logger_context()
        signal.pause()  # where the signal came late
    except KeyboardInterrupt:
        interrupted = True
    return {"interrupted": interrupted}


def bounded_case(savedir: Path) -> dict[str, object]:
    logger = start(savedir)
    for step in range(2 * STEPS, 2 * STEPS + MANY):
        logger.log(float(step), "loss", step=step)
    STALL.unlink()
    first, second = logger.flush(), logger.flush()
    elsewhere: list[bool] = []
    thread = threading.Thread(target=lambda: elsewhere.extend([logger.flush(), logger.flush()]))
    thread.start()
    thread.join()
    logger.log(-1.0, "loss", step=2 * STEPS + MANY)
    logger.destroy_logger_context()
    return {"flushed": [first, second], "elsewhere": elsewhere}


def nested_case(savedir: Path) -> dict[str, object]:
    """A signal comes while the main thread is inside flush, and the callback flushes, after records were dropped."""
    logger = start(savedir)
    for step in range(2 * STEPS, 2 * STEPS + MANY):
        logger.log(float(step), "loss", step=step)
    inner: list[bool] = []
    logger.on_preempt(lambda: inner.append(logger.flush()), signals=("SIGUSR1",))

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        STALL.unlink()

    when_main_is_inside("flush", interrupt)
    outer = logger.flush()
    again = logger.flush()
    logger.destroy_logger_context()
    return {"inner": inner, "outer": outer, "again": again}


def many_values_case(savedir: Path) -> dict[str, object]:
    logger = start(savedir)
    for step in range(2 * STEPS, 4 * STEPS):
        logger.log_metrics({f"layer{index}": float(index) for index in range(1000)}, step=step)
    STALL.unlink()
    flushed = logger.flush()
    logger.destroy_logger_context()
    return {"flushed": flushed}


def callback_case(savedir: Path, called: str) -> dict[str, object]:
    """SIGTERM comes while the main thread is inside flush, and the callback calls the logger."""
    logger = start(savedir)

    def callback() -> None:
        STALL.unlink()
        getattr(logger, called)()

    logger.on_preempt(callback)
    when_main_is_inside("flush", lambda: os.kill(os.getpid(), signal.SIGTERM))
    logger.flush()
    signal.pause()
    raise AssertionError("SIGTERM ends the process")


def sigterm_case(savedir: Path) -> dict[str, object]:
    """SIGTERM comes while a sync waits for the disk."""
    logger = start(savedir)
    log_some(logger, 2 * STEPS)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
    raise AssertionError("SIGTERM ends the process")


def sigterm_behind_an_item_case(savedir: Path) -> dict[str, object]:
    """SIGTERM comes while the contents of an item wait for the disk, and the metrics before it are not written yet."""
    logger = JournalLogger(savedir, run_id="stalled")
    logger.create_logger_context()
    assert logger.flush()
    STALL.touch()
    log_some(logger, 0)
    logger.log("x" * 100_000, "text", kind="text", step=STEPS)
    while not STALLED.exists():
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
    raise AssertionError("SIGTERM ends the process")


def looping_case(savedir: Path) -> dict[str, object]:
    """SIGTERM comes somewhere inside a flush, of which there are many, and the callback flushes as well."""
    logger = JournalLogger(savedir, run_id="stalled")
    logger.create_logger_context()
    logger.on_preempt(logger.flush)
    when_main_is_inside("flush", lambda: os.kill(os.getpid(), signal.SIGTERM))
    step = 0
    while True:
        logger.log(float(step), "loss", step=step)
        logger.flush()
        step += 1


CASES: dict[str, Callable[[Path], dict[str, object]]] = {
    "flush": flush_case,
    "close": close_case,
    "interrupt": interrupt_case,
    "delivery": delivery_case,
    "hook": hook_case,
    "items": items_case,
    "term": term_case,
    "bounded": bounded_case,
    "nested": nested_case,
    "many_values": many_values_case,
    "sigterm": sigterm_case,
    "sigterm_behind_an_item": sigterm_behind_an_item_case,
    "looping": looping_case,
    "callback_flushes": lambda savedir: callback_case(savedir, "flush"),
    "callback_closes": lambda savedir: callback_case(savedir, "destroy_logger_context"),
}

if __name__ == "__main__":
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = CASES[sys.argv[1]](Path(sys.argv[2]))
    ours = [str(each.message) for each in told if issubclass(each.category, RanklogWarning)]
    print(json.dumps({**result, "told": ours}))
