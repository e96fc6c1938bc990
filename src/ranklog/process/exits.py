"""How the program ends: status and reason of the runs that it leaves open.

In: the exception that ends the program. Out: the status of the process, for `atexit`, where the interpreter no longer
has it. Only the end of the program counts: not a ``sys.exit`` that is caught, not one in a thread, not an exception
hook that the program calls itself.

An uncaught exception reaches ``sys.excepthook``. SystemExit does not: the interpreter reads its ``code`` and exits.
That look-up is the only Python that runs in between, so `watch` puts an attribute in the place of ``code`` that notes
what the interpreter reads. `rest` puts everything back. Decision 0019 has the reasons.
"""

from __future__ import annotations

import gc
import sys
import threading
from types import CodeType, TracebackType
from typing import Any

from ranklog.model.record import Status
from ranklog.model.text import storable

_REASON_CHARS = 500
_INSTANCES_SINCE = (3, 12)
"""Since then the interpreter makes an exception object for every `sys.exit`, so that there is a ``code`` to read."""

_program: CodeType | None = None
_error: str | None = None
_last_before: BaseException | None = None
_left: list[object] = []
_signals: list[str] = []


def describe(error: BaseException) -> str:
    """One short text for an exception, as a run's reason."""
    return storable(f"{type(error).__name__}: {error}"[:_REASON_CHARS])


def exit_status(code: object) -> int:
    """Status of a process that ends by ``SystemExit(code)``.

    Example:
        >>> exit_status(None), exit_status(3), exit_status(-1), exit_status("no data")
        (0, 3, 255, 1)
    """
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return code & 0xFF if -(2**63) <= code < 2**63 else 255


def ending(error: BaseException) -> tuple[Status, str]:
    """Status and reason of a run whose block ends with this exception."""
    return _by_code(error.code) if isinstance(error, SystemExit) else ("FAILED", describe(error))


def at_exit() -> tuple[Status, str]:
    """Status and reason of a run that the program leaves open; for `atexit`."""
    if _left:
        return _by_code(_left[-1])
    # An interactive interpreter goes on after an exception, and exits with 0.
    goes_on = hasattr(sys, "ps1") and (sys.flags.inspect or not (sys.argv and sys.argv[0]))
    error = _error or _past_the_hook()
    return ("FINISHED", "") if error is None or goes_on else ("FAILED", error)


def _past_the_hook() -> str | None:
    """An uncaught exception that went to a hook of somebody else, who does not call ours."""
    error = getattr(sys, "last_value", None)  # which the interpreter sets before it calls any hook
    if sys.excepthook is _note or hasattr(sys, "ps1") or error is None or error is _last_before:
        return None
    return describe(error)


def note_signal(name: str) -> None:
    """A signal has announced the end: a program that then leaves with a status was ended by that."""
    _signals.append(name)


def _by_code(code: object) -> tuple[Status, str]:
    status = exit_status(code)
    if not status:
        return "FINISHED", ""
    reason = f"exit status {status}"
    if not isinstance(code, int):
        reason = storable(f"{reason}: {code}"[:_REASON_CHARS])
    # As a job that is requeued.
    return ("KILLED", f"{reason} after {_signals[-1]}") if _signals else ("FAILED", reason)


class _Code:
    """Attribute ``code`` of SystemExit, noting what the interpreter itself reads."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __get__(self, error: SystemExit | None, owner: type | None = None) -> object:
        if error is None:
            return self.original
        code = self.original.__get__(error, owner)
        if sys._getframe().f_back is None:  # no Python code asks: the interpreter is about to exit with it
            _left.append(code)
        return code

    def __set__(self, error: SystemExit, code: object) -> None:
        self.original.__set__(error, code)

    def __delete__(self, error: SystemExit) -> None:
        self.original.__delete__(error)


class _Layer:
    """A function of module sys, replaced by one that calls it.

    Args:
        name: Its name.
        ours: The one that replaces it.
    """

    def __init__(self, name: str, ours: Any) -> None:
        self.before = getattr(sys, name)
        self._name = name
        self._ours = ours
        self._put = False

    def put(self) -> None:
        """Replace it, unless ours is still below one that somebody else has put on top."""
        if not self._put:
            self.before = getattr(sys, self._name)
            setattr(sys, self._name, self._ours)
            self._put = True

    def take(self) -> None:
        """Put back what was there before, unless somebody else has replaced ours since."""
        if getattr(sys, self._name) is self._ours:
            setattr(sys, self._name, self.before)
            self._put = False


def watch() -> None:
    """Begin to watch; without effect while that goes on."""
    global _program, _error, _last_before
    _program, _error, _last_before = _bottom(), None, getattr(sys, "last_value", None)
    _left.clear()
    _replace_code(_code)
    for layer in _layers:
        layer.put()


def rest() -> None:
    """Put back what was there before."""
    _replace_code(_code.original)
    for layer in _layers:
        layer.take()


def _replace_code(code: object) -> None:
    if sys.implementation.name != "cpython":
        return
    import ctypes  # here: scripts that only import ranklog need not pay for it

    # The attributes of a built-in type cannot be set, but its dict can be reached.
    gc.get_referents(SystemExit.__dict__)[0]["code"] = code
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(SystemExit))


def _bottom() -> CodeType | None:
    """The code in which the main thread began: the program's own, as long as it runs."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return None if frame is None else frame.f_code


def _note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    global _error  # noqa: PLW0603 - a process ends once
    if threading.current_thread() is threading.main_thread() and _bottom() is not _program:
        _error = describe(error)
    _hook.before(kind, error, trace)


def _exit(status: Any = None, /) -> None:
    """`sys.exit`, with an exception object."""
    try:
        _leave.before(status)
    except SystemExit:  # noqa: TRY203 - catching is what makes the object
        raise


_code = _Code(SystemExit.__dict__["code"])
_hook, _leave = _Layer("excepthook", _note), _Layer("exit", _exit)
_layers = (_hook, _leave) if sys.version_info < _INSTANCES_SINCE else (_hook,)
