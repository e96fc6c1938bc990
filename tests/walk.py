"""Follows one datum through the process: which modules of ranklog are passed, in which order, in which threads.

A datum is followed by its name, by the object itself, and by the contents that it is stored as. A function is passed if
an argument carries the datum when it is called, or a variable when it returns. Functions that never see the datum, such
as those that keep a thread going, do not count.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from types import CellType, FrameType, FunctionType
from typing import Any

import msgspec

from ranklog.abc import PendingItem

MOST_ELEMENTS = 100
DEEPEST = 5
_PUTS = ("append", "appendleft", "extend", "extendleft")


class Pass(msgspec.Struct, frozen=True):
    """One function that the datum passed.

    Attributes:
        thread: Name of the thread.
        module: Module of the function.
        function: Its name.
        caller: Module of ranklog that called it; None where the thread, or the user, did.
    """

    thread: str
    module: str
    function: str
    caller: str | None


class Walk:
    """Records what a datum passes while `recording`.

    Args:
        names: Of the datum; no other text may contain them.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._data = [name.encode() for name in names]
        self._parts: list[object] = []
        self._entered: dict[int, tuple[int, Pass]] = {}
        self._passed: dict[int, Pass] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._on = False

    @contextmanager
    def in_threads(self) -> Iterator[None]:
        """Also follow the datum in threads that start inside."""
        threading.setprofile(self._profile)
        try:
            yield
        finally:
            threading.setprofile(None)

    @contextmanager
    def recording(self, item: object = None) -> Iterator[None]:
        """Follow the datum from now on, and in this thread while inside."""
        if not isinstance(item, (int, float, str, bytes, type(None))):  # equal ones may be one object
            self._parts.append(item)
        self._on = True
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)

    @property
    def passed(self) -> list[Pass]:
        """What was passed so far, in the order of the calls."""
        with self._lock:
            return [self._passed[number] for number in sorted(self._passed)]

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if not self._on or not module.startswith("ranklog."):
            return
        if event == "c_call":
            self._put(frame, module, arg)
        elif event in ("call", "return"):
            self._call(frame, module, event)

    def _put(self, frame: FrameType, module: str, method: Any) -> None:
        """A queue of ranklog's own that is filled by a method of `deque` itself."""
        queue = type(getattr(method, "__self__", None))
        if not issubclass(queue, deque) or not queue.__module__.startswith("ranklog."):
            return
        if method.__name__ in _PUTS and any(self._carries(value) for value in frame.f_locals.values()):
            with self._lock:
                self._count += 1
                thread = threading.current_thread().name
                self._passed[self._count] = Pass(thread, queue.__module__, method.__name__, module)

    def _call(self, frame: FrameType, module: str, event: str) -> None:
        key = id(frame)
        if event == "call":
            code = frame.f_code
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 2]
            here = [frame.f_locals[name] for name in names if name in frame.f_locals and name != "self"]
            made = Pass(threading.current_thread().name, module, code.co_name, _caller(frame))
            with self._lock:
                self._count += 1
                self._entered[key] = self._count, made
        else:
            here = [value for name, value in frame.f_locals.items() if name != "self"]
        with self._lock:
            number, made = self._entered.get(key, (0, None))
            if event == "return":
                self._entered.pop(key, None)
        if made is not None and number not in self._passed and any(self._carries(value) for value in here):
            with self._lock:
                self._passed[number] = made

    def _carries(self, value: Any, depth: int = 0) -> bool:
        if any(value is part for part in self._parts):
            return True
        if isinstance(value, str):
            return any(name in value for name in self._names)
        if isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
            return any(name in data for name in self._data)
        if isinstance(value, PurePath):
            return any(name in str(value) for name in self._names)
        if depth >= DEEPEST or not any(self._carries(part, depth + 1) for part in _parts(value)):
            return False
        if isinstance(value, PendingItem):  # its contents need not have the name
            self._parts += value.contents
        return True


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [part for pair in list(value.items())[:MOST_ELEMENTS] for part in pair]
    if type(value) in (tuple, list, deque, set, frozenset):
        return list(value)[:MOST_ELEMENTS]
    if isinstance(value, msgspec.Struct):
        return [getattr(value, field) for field in value.__struct_fields__]
    if isinstance(value, FunctionType):
        return [held for cell in value.__closure__ or () for held in _held(cell)]
    return []


def _held(cell: CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # nothing was assigned to the variable yet
        return []


def _caller(frame: FrameType) -> str | None:
    above = frame.f_back
    while above is not None:
        if (name := above.f_globals.get("__name__", "")).startswith("ranklog."):
            return name
        above = above.f_back
    return None
