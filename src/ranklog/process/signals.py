"""Signals that announce the end of a job: SIGTERM, and SIGUSR1 or SIGUSR2 where the user asks for them.

While a logger is open, a signal leads to three steps. Everything logged is journaled within `FLUSH_S`. The user's
callbacks run in the main thread. Then the process continues as it would without ranklog: an earlier handler runs, or
the default action ends the process. A handler that replaced ours decides by itself how the process ends.

Python's handlers do not run while the main thread is inside a collective (see the signal module, "Execution of Python
signal handlers"). So a thread does the work, woken through the wake-up descriptor. A wake-up descriptor that was set
before still gets its bytes. Nothing here uses a network.

`SignalWatch.stop` restores the earlier handlers, and a forked child does the same. Schedulers send SIGUSR1 and SIGUSR2
to every process of a job at any time. A signal that the user asked for therefore ends neither a child, nor the program
after the last logger was closed, as with `signal.signal`. SIGTERM ends a child, because a DataLoader relies on it.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any

from ranklog.model.errors import InvalidArgumentError, RanklogError
from ranklog.model.record import Event
from ranklog.process import exits, forks
from ranklog.process.earlier_wakeup import EarlierWakeup
from ranklog.process.takeover import Takeover

FLUSH_S = 1.8
"""Seconds for writing everything logged to the journal. The guaranteed limit is 2 s."""

ALLOWED = {each.name: each for each in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
_STOP = 0
"""A byte that is no signal number."""
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

Callback = Callable[[], object]
Secure = Callable[[Event, float], object]
"""Writes everything logged and the event to the journal, within a number of seconds."""

_secure_callbacks: list[Secure] = []
_watch: SignalWatch | None = None
_stopped_watches: list[SignalWatch] = []
"""Stopped watches whose wake-up descriptor another library may still put back."""


def register(secure: Secure) -> None:
    """Call ``secure`` in a thread when a signal announces the end; without effect when it is registered already.

    Signals can be watched from the main thread only. A logger that is opened in another thread is secured as well once
    some logger is opened in the main thread.
    """
    if secure not in _secure_callbacks:
        _secure_callbacks.append(secure)
    if threading.current_thread() is threading.main_thread():
        _running_watch()


def unregister(secure: Secure) -> None:
    """Remove a callback; after the last one, the earlier signal handlers are restored."""
    global _watch  # noqa: PLW0603 - there is one watch per process
    if secure in _secure_callbacks:
        _secure_callbacks.remove(secure)
    if not _secure_callbacks and _watch is not None and threading.current_thread() is threading.main_thread():
        forks.unregister(_forget)
        _watch.stop()
        _watch = None


def on_signals(callback: Callback, names: Iterable[str]) -> None:
    """Call ``callback`` in the main thread at these signals, for as long as a logger is open.

    Raises:
        InvalidArgumentError: a name is not one of the signals that announce an end, or ``callback`` is not callable.
        RanklogError: this is not the main thread.
    """
    if not callable(callback):
        raise InvalidArgumentError(
            f"on_preempt(callback={callback!r}) is not allowed: give a function without arguments"
        )
    for number in check_signals(names):
        _running_watch().add(number, callback)


def _running_watch() -> SignalWatch:
    global _watch  # noqa: PLW0603 - there is one watch per process
    if _watch is None:
        _watch = SignalWatch(_secure_all)
        forks.register(_forget)
    return _watch


def _secure_all(number: signal.Signals) -> None:
    exits.record_signal(number.name)
    for secure in tuple(_secure_callbacks):
        try:
            secure(Event("warning", "signal", f"{number.name} received", time.time_ns()), FLUSH_S)
        except Exception as error:
            sys.stderr.write(f"ranklog: at {number.name}: {error!r}\n")


def _forget() -> None:
    global _watch
    _secure_callbacks.clear()
    watch, _watch = _watch, None
    if watch is not None:
        watch.leave_in_child()


def check_signals(names: Iterable[str]) -> tuple[signal.Signals, ...]:
    """Return signals by name.

    Raises:
        InvalidArgumentError: a signal is not one of those that announce an end.

    Example:
        >>> check_signals(["SIGUSR1"])
        (<Signals.SIGUSR1: 10>,)
    """
    given = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else (None,)
    found = tuple(ALLOWED[name] for name in given if isinstance(name, str) and name in ALLOWED)
    if len(found) < len(given):
        raise InvalidArgumentError(f"signals={names!r} is not allowed: give some of {', '.join(ALLOWED)}")
    return found


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Do nothing. Unlike SIG_IGN, child programs do not inherit this."""


class SignalWatch:
    """Watches for signals in this process. Create and stop it in the main thread.

    Args:
        secure: Called after each signal, in a thread of its own: writes everything logged to the journal.

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
        self._takeover = Takeover(self._handle)
        self._changed = threading.Condition()
        self._terminated = False
        self._leaving = False
        self._stopped = False
        # A child that was forked from C writes here as well, so the kernel has to name the writer.
        self._reader, self._writer = socket.socketpair()
        self._reader.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._writer.setblocking(False)
        self._earlier = EarlierWakeup(signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False))
        self._thread = threading.Thread(target=self._watch, name="ranklog-signals", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._restore()
            self._reader.close()
            self._writer.close()
            raise
        self.add(signal.SIGTERM)

    def add(self, number: signal.Signals, callback: Callback | None = None) -> None:
        """Watch for one more signal, and call ``callback`` in the main thread when it arrives."""
        if callback is not None:
            self._callbacks.setdefault(number, []).append(callback)
        if number not in self._before:
            before = signal.getsignal(number)
            # None is a handler that was set from C. It cannot be called from Python, so it must not be replaced.
            # SIG_IGN is inherited by child programs, so it stays until a callback asks for the signal.
            if before is not None and (before != signal.SIG_IGN or callback is not None):
                self._before[number] = before
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Run the user's callbacks in the main thread, then the earlier handler."""
        which = signal.Signals(number)
        taken = self._takeover.by_caller(number)
        if os.getpid() == self._pid and not self._stopped:
            self._call_back(which)
        if not taken and (os.getpid() != self._pid or self._stopped):
            # In a child without fork hooks, after a callback closed the last logger, or put back after that.
            self._put_back(which)
            signal.raise_signal(number)
        elif callable(before := self._before.get(which)):
            before(number, frame)

    def _call_back(self, number: signal.Signals) -> None:
        self._wake_if_missed(number)
        leaving = True
        try:
            for callback in tuple(self._callbacks.get(number, ())):
                callback()
            leaving = False
        finally:
            # A callback that raises, for example SystemExit, decides how the program ends.
            with self._changed:
                self._leaving = self._leaving or leaving
                self._terminated = self._terminated or number == signal.SIGTERM
                self._changed.notify_all()

    def _wake_if_missed(self, number: int) -> None:
        """Wake the thread if another library owns the wake-up descriptor: asyncio, for one, passes no bytes on."""
        current = signal.set_wakeup_fd(-1)
        if current >= 0:
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        if current != self._writer.fileno():
            with suppress(BlockingIOError):  # full: the thread has bytes to read already
                self._writer.send(bytes([number]))

    def _watch(self) -> None:
        while True:
            numbers, ancillary, _, _ = self._reader.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            if not any(_CREDENTIALS.unpack(data)[0] == self._pid for _, _, data in ancillary):
                continue
            for number in numbers:
                if number == _STOP:
                    return
                self._earlier.pass_on(number)
                if number in self._before:
                    self._act(signal.Signals(number))

    def _act(self, number: signal.Signals) -> None:
        taken = self._takeover.is_recent(number)  # asked now: Lightning puts our handler back while this secures
        self._secure_in_thread(number)
        if number != signal.SIGTERM or self._before[number] != signal.SIG_DFL:
            return
        if taken or self._takeover.is_current(number):
            return
        if self._callbacks.get(number):
            with self._changed:
                self._changed.wait_for(lambda: self._terminated or self._stopped)
                if self._leaving or self._stopped:
                    return
            self._secure_in_thread(number)
        import ctypes  # here, so that `import ranklog` stays fast

        # Restore the default action and send the signal again. signal.signal works in the main thread only, which may
        # hang in a collective, so this calls the C library.
        ctypes.CDLL(None).signal(int(number), None)
        os.kill(self._pid, number)

    def _secure_in_thread(self, number: signal.Signals) -> None:
        worker = threading.Thread(target=self._secure, args=(number,), name="ranklog-secure", daemon=True)
        worker.start()
        worker.join(FLUSH_S)

    def stop(self) -> None:
        """Restore the earlier handlers, unless the program replaced ours meanwhile. Call it in the main thread."""
        ours = self._restore()
        with self._changed:
            # A callback may have called this, and the thread waits for the callback.
            self._stopped = True
            self._changed.notify_all()
        self._writer.setblocking(True)
        self._writer.send(bytes([_STOP]))
        self._thread.join()
        if ours:  # else another library may put the number back later, and it must not mean another file by then
            self._reader.close()
            self._writer.close()
        else:
            _stopped_watches.append(self)
            self._writer.setblocking(False)

    def leave_in_child(self) -> None:
        """In a forked child: restore the earlier handlers. The sockets belong to the parent."""
        self._restore()

    def _restore(self) -> bool:
        """Restore handlers and wake-up descriptor; returns whether the descriptor was still ours."""
        for number in self._before:
            self._put_back(number)
        current = signal.set_wakeup_fd(-1)
        if current == self._writer.fileno():
            self._earlier.restore()
        elif current >= 0:
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        self._earlier.close()
        return current == self._writer.fileno()

    def _put_back(self, number: signal.Signals) -> None:
        """Set the handler of a signal once it is not watched, or in a child, unless the program replaced ours."""
        if not self._takeover.is_current(number):
            before = self._before[number]
            asked_for = number in self._callbacks and number != signal.SIGTERM
            signal.signal(number, _do_nothing if asked_for and not callable(before) else before)
