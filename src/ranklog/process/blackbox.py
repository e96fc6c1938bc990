"""Black box of a process: its last lines of output and its last metrics, kept in memory in case the run ends badly.

In: output of Python code on stdout and stderr while a logger is open (not output of C code), and the values that this
rank logged. Out: one small text for the run when the process fails, receives a signal or loses the other ranks. Memory
and text are bounded: `SIZE_CHARS` per rank, less when there are many ranks.

While a logger is open, the stream objects have a ``write`` method of ours that records the text and passes it on. The
streams, their descriptors and their output do not change.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

from ranklog.model.place import Place
from ranklog.model.record import EVERY_BACKEND, LAST_LINES, File, Item
from ranklog.model.redact import MASK, is_secret_name, mask_text
from ranklog.model.text import storable
from ranklog.process import forks

SIZE_CHARS = 16_000
MAX_WORLD_CHARS = 4_000_000
MIN_CHARS = 500
MAX_PIECES = 600
_PIECE_CHARS = 2000
_METRICS = 50
_SECRET_CHARS = 6
_NO_SECRETS = ("PWD", "OLDPWD")  # the working directory, not a password

STACKS = "RANKLOG_STACKS"


class Listener:
    """Records output on the standard streams of this process. Start and stop it in the main thread."""

    def __init__(self) -> None:
        self._pieces: deque[str] = deque(maxlen=MAX_PIECES)
        self._replaced: list[tuple[TextIO, Callable[[str], int], Callable[[str], int] | None]] = []
        for stream in (sys.stdout, sys.stderr):
            self._listen(stream)

    def _listen(self, stream: TextIO | None) -> None:
        if stream is None:  # under pythonw, for example
            return
        before, pieces = stream.write, self._pieces

        def write(text: str, /) -> int:
            if isinstance(text, str):
                pieces.append(text if len(text) <= _PIECE_CHARS else text[-_PIECE_CHARS:])
            return before(text)

        try:
            others = vars(stream).get("write")
            stream.write = write  # type: ignore[method-assign]
        except (AttributeError, TypeError):  # an object without settable attributes cannot be recorded
            return
        self._replaced.append((stream, write, others))

    def stop(self) -> None:
        """Restore the original write methods unless someone replaced them since."""
        for stream, write, others in self._replaced:
            if vars(stream).get("write") is not write:
                continue
            if others is None:
                del stream.write
            else:
                stream.write = others  # type: ignore[method-assign]

    def lines(self) -> list[str]:
        """Return the last lines. Of a line that was overwritten, as by a progress bar, return the last version."""
        text = "".join(tuple(self._pieces))
        return [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]


class LastValues:
    """Newest values of the metrics that this rank logged most recently."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[int, float]] = {}

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Remember values."""
        for name, value in values.items():
            self._values.pop(name, None)
            self._values[name] = (step, value)
        while len(self._values) > _METRICS:
            del self._values[next(iter(self._values))]

    def lines(self) -> list[str]:
        """Return one line per metric, the newest last."""
        return [f"{name} = {value:.6g} at step {step}" for name, (step, value) in list(self._values.items())]


class BlackBox:
    """Makes the black-box texts of one session.

    Args:
        place: This process.

    Attributes:
        values: Newest values of this rank.
    """

    def __init__(self, place: Place) -> None:
        self.values = LastValues()
        self._place = place
        self._causes: list[str] = []

    def items(self, cause: str) -> list[Item]:
        """Return the text as an item, or nothing when there is one for this cause already."""
        import hashlib  # here and below: a script that ends well never needs these

        if cause in self._causes:
            return []
        self._causes.append(cause)
        text = compose(
            cause,
            last_lines(),
            self.values.lines(),
            stacks_if_asked(os.environ),
            size=share_chars(self._place.world_size),
            environ=os.environ,
        )
        name = f"{LAST_LINES}rank_{self._place.rank:03d}"
        data = text.encode()
        file = File(f"{name}.txt", len(data), hashlib.sha256(data).hexdigest(), data)
        step = len(self._causes) - 1
        media = "text/plain; charset=utf-8"
        return [Item("text", name, step, time.time_ns(), EVERY_BACKEND, self._place.rank, media, (file,))]


_listener: Listener | None = None
_users: list[object] = []


def listen(user: object) -> None:
    """Record this process's output until each user has called `stop_listening`."""
    global _listener  # noqa: PLW0603 - a process has one standard output
    if user not in _users:
        _users.append(user)
    if _listener is None:
        _listener = Listener()
        forks.register(_forget)


def stop_listening(user: object) -> None:
    """End one user's recording. After the last one, the recorded output is dropped."""
    if user in _users:
        _users.remove(user)
        if not _users:
            forks.unregister(_forget)
            _forget()


def _forget() -> None:
    global _listener  # noqa: PLW0603 - a process has one standard output
    _users.clear()
    if _listener is not None:
        _listener.stop()
        _listener = None


def last_lines() -> list[str]:
    """Return the last lines of this process's output; nothing while it is not recorded."""
    return [] if _listener is None else _listener.lines()


def cause_of(reason: str) -> str:
    """Return the reason of a failure, with the traceback of the exception that is being handled, if any."""
    error = sys.exception() if sys.version_info >= (3, 11) else sys.exc_info()[1]
    if error is None:
        return reason
    import traceback

    return "".join(traceback.format_exception(error)).rstrip("\n")


def share_chars(world_size: int) -> int:
    """Return how many characters one rank may keep in the run.

    Example:
        >>> share_chars(8), share_chars(1000), share_chars(100_000)
        (16000, 4000, 500)
    """
    return max(MIN_CHARS, min(SIZE_CHARS, MAX_WORLD_CHARS // world_size))


def compose(
    cause: str, lines: list[str], metrics: list[str], stacks: str, *, size: int, environ: Mapping[str, str]
) -> str:
    """Build the text of a black box: at most ``size`` characters, secrets masked. Pure.

    Example:
        >>> print(compose("SIGTERM", ["epoch 1", "key abcdef"], ["loss = 1 at step 3"], "", size=200,
        ...               environ={"API_KEY": "abcdef"}))
        SIGTERM
        --- last metrics
        loss = 1 at step 3
        --- last lines
        epoch 1
        key ***
    """
    parts = [cause]
    if metrics:
        parts += ["--- last metrics", *metrics]
    if stacks:
        parts += ["--- stacks", stacks]
    head = _masked("\n".join(parts), environ)[: size // 2]
    title = "\n--- last lines\n"
    tail = _masked("\n".join(lines).strip("\n"), environ)
    room = size - len(head) - len(title)
    return storable(head + title + tail[-room:] if tail and room > 0 else head)


def _masked(text: str, environ: Mapping[str, str]) -> str:
    for name, value in environ.items():
        if len(value) >= _SECRET_CHARS and name not in _NO_SECRETS and is_secret_name(name):
            text = text.replace(value, MASK)
    return mask_text(text)


def stacks_if_asked(environ: Mapping[str, str]) -> str:
    """Return the stacks of all threads if ``RANKLOG_STACKS=1`` is set."""
    if environ.get(STACKS, "0") in ("", "0"):
        return ""
    import tempfile

    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()
