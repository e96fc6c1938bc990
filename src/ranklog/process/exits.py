"""Callbacks that close open runs when the program exits, with the status and reason of the exit.

In: the exception that ends the program. Out: the status of the process. The interpreter no longer has it when `atexit`
runs, so it must be recorded before. Only the end of the program counts: not a ``sys.exit`` that is caught, not one in a
thread, not an exception hook that the program calls itself.

An uncaught exception reaches ``sys.excepthook``. SystemExit does not: the interpreter reads its ``code`` and exits.
This attribute access is the only Python code that runs in between. So while a callback is registered, ``code`` is
replaced by a descriptor that records what the interpreter reads. Decision 0019 has the reasons.
"""

from __future__ import annotations

import atexit
import gc
import sys
import threading
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import Any

from ranklog.model.record import Status
from ranklog.model.text import storable
from ranklog.process import forks

CLOSE_S = 30.0
"""Seconds that closing at exit may take, per callback."""
_REASON_CHARS = 500
_INSTANCES_SINCE = (3, 12)
"""Since this version the interpreter makes an exception object for every `sys.exit`, whose ``code`` can be read."""

Close = Callable[[Status, float, str], object]
"""Closes a run, with status, seconds it may take, and reason."""

_close_callbacks: list[Close] = []
_hooked = False
_program: CodeType | None = None
_error: str | None = None
_last_before: BaseException | None = None
_exit_codes: list[object] = []
_signals: list[str] = []


def register(close: Close) -> None:
    """Call ``close`` when the program exits; without effect when it is registered already."""
    global _hooked  # noqa: PLW0603 - a hook of the process is set once
    if not _hooked:
        _hooked = True
        atexit.register(_close_all)
    if not _close_callbacks:
        _start()
        forks.register(_forget)
    if close not in _close_callbacks:
        _close_callbacks.append(close)


def unregister(close: Close) -> None:
    """Remove a callback. After the last one, nothing of the interpreter is replaced any more."""
    if close in _close_callbacks:
        _close_callbacks.remove(close)
        if not _close_callbacks:
            forks.unregister(_forget)
            _stop()


def _close_all() -> None:
    status, reason = status_at_exit()
    for close in tuple(_close_callbacks):
        try:
            close(status, CLOSE_S, reason)
        except Exception as error:
            sys.stderr.write(f"ranklog: closing at exit failed: {error!r}\n")


def _forget() -> None:
    _close_callbacks.clear()
    _stop()


def describe(error: BaseException) -> str:
    """Format an exception as the reason of a run, in one short text."""
    return storable(f"{type(error).__name__}: {error}"[:_REASON_CHARS])


def exit_status(code: object) -> int:
    """Return the status of a process that ends with ``SystemExit(code)``.

    Example:
        >>> exit_status(None), exit_status(3), exit_status(-1), exit_status("no data")
        (0, 3, 255, 1)
    """
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return code & 0xFF if -(2**63) <= code < 2**63 else 255


def status_of_exception(error: BaseException) -> tuple[Status, str]:
    """Return status and reason of a run whose ``with`` block raised this exception."""
    return _status_of_code(error.code) if isinstance(error, SystemExit) else ("FAILED", describe(error))


def status_at_exit() -> tuple[Status, str]:
    """Return status and reason of a run that is still open when the program exits."""
    if _exit_codes:
        return _status_of_code(_exit_codes[-1])
    # An interactive interpreter continues after an exception, and exits with 0.
    interactive = hasattr(sys, "ps1") and (sys.flags.inspect or not (sys.argv and sys.argv[0]))
    error = _error or _error_past_our_hook()
    return ("FINISHED", "") if error is None or interactive else ("FAILED", error)


def _error_past_our_hook() -> str | None:
    """Find an uncaught exception for which another library's hook ran and did not call ours."""
    error = getattr(sys, "last_value", None)  # the interpreter sets it before it calls any hook
    if sys.excepthook is _record_error or hasattr(sys, "ps1") or error is None or error is _last_before:
        return None
    return describe(error)


def record_signal(name: str) -> None:
    """Record that a signal announced the end of the job: an exit status after it means KILLED."""
    _signals.append(name)


def _status_of_code(code: object) -> tuple[Status, str]:
    status = exit_status(code)
    if not status:
        return "FINISHED", ""
    reason = f"exit status {status}"
    if not isinstance(code, int):
        reason = storable(f"{reason}: {code}"[:_REASON_CHARS])
    # A requeued job often ends this way.
    return ("KILLED", f"{reason} after {_signals[-1]}") if _signals else ("FAILED", reason)


class _Code:
    """Attribute ``code`` of SystemExit that records what the interpreter itself reads."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __get__(self, error: SystemExit | None, owner: type | None = None) -> object:
        if error is None:
            return self.original
        code = self.original.__get__(error, owner)
        if sys._getframe().f_back is None:  # no Python code reads it: the interpreter is about to exit with it
            _exit_codes.append(code)
        return code

    def __set__(self, error: SystemExit, code: object) -> None:
        self.original.__set__(error, code)

    def __delete__(self, error: SystemExit) -> None:
        self.original.__delete__(error)


class _Replacement:
    """Replaces a function of module ``sys`` by one that calls it.

    Args:
        name: Name of the function.
        ours: The new function.
    """

    def __init__(self, name: str, ours: Any) -> None:
        self.before = getattr(sys, name)
        self._name = name
        self._ours = ours
        self._in_place = False

    def install(self) -> None:
        """Replace the function, unless ours is still there below a replacement of another library."""
        if not self._in_place:
            self.before = getattr(sys, self._name)
            setattr(sys, self._name, self._ours)
            self._in_place = True

    def remove(self) -> None:
        """Restore the earlier function, unless another library replaced ours since."""
        if getattr(sys, self._name) is self._ours:
            setattr(sys, self._name, self.before)
            self._in_place = False


def _start() -> None:
    global _program, _error, _last_before
    _program, _error, _last_before = _bottom(), None, getattr(sys, "last_value", None)
    _exit_codes.clear()
    _replace_code(_code)
    for replacement in _replacements:
        replacement.install()


def _stop() -> None:
    _replace_code(_code.original)
    for replacement in _replacements:
        replacement.remove()


def _replace_code(code: object) -> None:
    if sys.implementation.name != "cpython":
        return
    import ctypes  # here, so that `import ranklog` stays fast

    # Attributes of a built-in type cannot be assigned, but its dict can be changed.
    gc.get_referents(SystemExit.__dict__)[0]["code"] = code
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(SystemExit))


def _bottom() -> CodeType | None:
    """Return the outermost code of the main thread: the program itself while it runs."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return None if frame is None else frame.f_code


def _record_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    global _error  # noqa: PLW0603 - a process ends once
    if threading.current_thread() is threading.main_thread() and _bottom() is not _program:
        _error = describe(error)
    _excepthook.before(kind, error, trace)


def _exit(status: Any = None, /) -> None:
    """Call `sys.exit` so that an exception object is made, as newer versions do."""
    try:
        _sys_exit.before(status)
    except SystemExit:  # noqa: TRY203 - catching makes the object
        raise


_code = _Code(SystemExit.__dict__["code"])
_excepthook, _sys_exit = _Replacement("excepthook", _record_error), _Replacement("exit", _exit)
_replacements = (_excepthook, _sys_exit) if sys.version_info < _INSTANCES_SINCE else (_excepthook,)
