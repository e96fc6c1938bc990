"""Signals that announce the end of a job: SIGTERM, and SIGUSR1 or SIGUSR2 where the user asks for them.

In: signals of this process, while a logger is open. Out: what was logged is in the journal within `FLUSH_S`, the
user's callbacks are called in the main thread, and then happens what would have happened without ranklog: an earlier
handler runs, or the signal's default ends the process. Python's handlers do not run while the main thread is inside a
collective (see the signal module, "Execution of Python signal handlers"), so the work is done by a thread that the
wake-up descriptor wakes. A descriptor that was set before gets its bytes as well. Nothing here talks to a network.

The thread has one way to stop, `Watch.stop`, which also puts back what was there before. Forked children get the same:
an earlier handler, or the default. Schedulers send USR1 and USR2 to every process of a job at any time, so one that the
program asked for ends neither a child, nor the program after the last logger was closed. With `signal.signal` it would
be the same. SIGTERM ends a child, as a DataLoader needs it.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any

from ranklog.model.errors import InvalidArgumentError, RanklogError
from ranklog.process.earlier_wakeup import EarlierWakeup

FLUSH_S = 1.8
"""Seconds for bringing what was logged into the journal: within 2 s it has to be there."""

ALLOWED = {each.name: each for each in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
_STOP = 0
"""A byte that is no signal."""
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

Callback = Callable[[], object]
_kept: list[Watch] = []
"""Stopped, but another library still has their wake-up descriptor."""


def check_signals(names: Iterable[str]) -> tuple[signal.Signals, ...]:
    """Signals from their names.

    Raises:
        InvalidArgumentError: one is not among those that announce an end.

    Example:
        >>> check_signals(["SIGUSR1"])
        (<Signals.SIGUSR1: 10>,)
    """
    given = (names,) if isinstance(names, str) else tuple(names)
    for name in given:
        if name not in ALLOWED:
            raise InvalidArgumentError(f"signals={names!r} is not allowed: give some of {', '.join(ALLOWED)}")
    return tuple(ALLOWED[name] for name in given)


def _pass(number: int, frame: FrameType | None) -> None:
    """Do nothing. Unlike SIG_IGN, other programs do not inherit that."""


class Watch:
    """Watches for signals in this process; made and stopped in the main thread.

    Args:
        secure: Called in a thread beside the watching one after each signal: brings what was logged into the journal.

    Raises:
        RanklogError: this is not the main thread.
    """

    def __init__(self, secure: Callable[[signal.Signals], None]) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RanklogError("signals can be watched from the main thread only: open the logger there")
        self._secure = secure
        self._pid = os.getpid()
        self._before: dict[signal.Signals, Any] = {}
        self._callbacks: dict[signal.Signals, list[Callback]] = {}
        self._changed = threading.Condition()
        self._terminated = False
        self._leaving = False
        self._stopped = False
        # A child that was forked without Python's knowledge writes here, too: the kernel says who wrote.
        self._reader, self._writer = socket.socketpair()
        self._reader.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._writer.setblocking(False)
        self._earlier = EarlierWakeup(signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False))
        self._thread = threading.Thread(target=self._watch, name="ranklog-signals", daemon=True)
        self._thread.start()
        self.add(signal.SIGTERM)

    def add(self, number: signal.Signals, callback: Callback | None = None) -> None:
        """Watch for a signal as well, and call ``callback`` in the main thread when it comes."""
        if callback is not None:
            self._callbacks.setdefault(number, []).append(callback)
        if number not in self._before:
            before = signal.getsignal(number)
            # None: a handler that was set from C. It cannot be called from here, so it stays, and ours does not come.
            # SIG_IGN: programs that this one starts inherit it, so it stays until a callback asks for the signal.
            if before is not None and (before != signal.SIG_IGN or callback is not None):
                self._before[number] = before
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, once Python comes to it: the user's callbacks, then the handler from before."""
        which = signal.Signals(number)
        if os.getpid() != self._pid:
            # A child in which no fork hook has run, or not yet.
            signal.signal(number, self._left(which))
            signal.raise_signal(number)
            return
        self._wake_if_passed_over(number)
        leaving = True
        try:
            for callback in tuple(self._callbacks.get(which, ())):
                callback()
            leaving = False
        finally:
            # A callback that raises, for example SystemExit, ends the program in its own way.
            with self._changed:
                self._leaving = self._leaving or leaving
                self._terminated = self._terminated or which == signal.SIGTERM
                self._changed.notify_all()
        before = self._before.get(which)
        if callable(before):
            before(number, frame)
        elif self._stopped and which == signal.SIGTERM and before == signal.SIG_DFL:
            # A callback closed the last logger, which put the default back: what is left is to let it happen.
            os.kill(self._pid, number)

    def _wake_if_passed_over(self, number: int) -> None:
        """Another owner of the wake-up descriptor, for example asyncio, does not pass its bytes on."""
        current = signal.set_wakeup_fd(-1)
        if current >= 0:
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        if current != self._writer.fileno() and not self._stopped:
            with suppress(BlockingIOError):  # full: the thread has not yet come to what is there
                self._writer.send(bytes([number]))

    def _watch(self) -> None:
        while True:
            numbers, said, _, _ = self._reader.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            if not any(_CREDENTIALS.unpack(data)[0] == self._pid for _, _, data in said):
                continue
            for number in numbers:
                if number == _STOP:
                    return
                self._earlier.pass_on(number)
                if number in self._before:
                    self._act(signal.Signals(number))

    def _act(self, number: signal.Signals) -> None:
        self._bring_in(number)
        if number != signal.SIGTERM or self._before[number] != signal.SIG_DFL:
            return
        if signal.getsignal(number) != self._handle:
            return  # the program has set a handler since
        if self._callbacks.get(number):
            with self._changed:
                self._changed.wait_for(lambda: self._terminated or self._stopped)
                if self._leaving or self._stopped:
                    return
            self._bring_in(number)
        import ctypes  # here: scripts that are never ended so need not pay for it

        # What would have happened without ranklog. signal.signal is for the main thread, which may hang in a
        # collective: so the C library is asked.
        ctypes.CDLL(None).signal(int(number), None)
        os.kill(self._pid, number)

    def _bring_in(self, number: signal.Signals) -> None:
        worker = threading.Thread(target=self._secure, args=(number,), name="ranklog-secure", daemon=True)
        worker.start()
        worker.join(FLUSH_S)

    def stop(self) -> None:
        """Put back what `_left` says, unless somebody has replaced it since; in the main thread."""
        ours = self._restore()
        with self._changed:
            # Perhaps by a callback, which the thread waits for.
            self._stopped = True
            self._changed.notify_all()
        self._writer.setblocking(True)
        self._writer.send(bytes([_STOP]))
        self._thread.join()
        if ours:  # else somebody may put the number back later, which must not mean another file by then
            self._reader.close()
            self._writer.close()
        else:
            _kept.append(self)
            self._writer.setblocking(False)

    def leave_in_child(self) -> None:
        """In a forked child: signals are its own again; the sockets stay the parent's."""
        self._restore()

    def _restore(self) -> bool:
        """Put signals and the wake-up descriptor back; whether that was still ours."""
        for number in self._before:
            if signal.getsignal(number) == self._handle:
                signal.signal(number, self._left(number))
        current = signal.set_wakeup_fd(-1)
        if current == self._writer.fileno():
            self._earlier.put_back()
        elif current >= 0:
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        self._earlier.close()
        return current == self._writer.fileno()

    def _left(self, number: signal.Signals) -> Any:
        """What a signal does where it is not watched any more, or not by this process."""
        before = self._before[number]
        asked_for = number in self._callbacks and number != signal.SIGTERM
        return _pass if asked_for and not callable(before) else before
