"""Ownership of file descriptors: one owner per number.

A number means our file only while that file is open. After a close, the next file that anything in this process opens,
perhaps a checkpoint, gets the same number. Guarantees: the number is forgotten before the close, and a failed close has
closed the file all the same (as on Linux). Nothing is therefore read from, written to or closed through a number that
is no longer ours. A call in one thread and a close in another exclude each other.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Concatenate, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Descriptor:
    """Owner of one open descriptor, until it is closed.

    Args:
        number: The descriptor; nothing else may close it.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler may take it again in the same thread

    @property
    def is_open(self) -> bool:
        """Whether the descriptor is open."""
        return self._number >= 0

    @property
    def number(self) -> int:
        """The number, for a call that ends before anything can close the descriptor.

        Raises:
            OSError: the descriptor was closed.
        """
        if self._number < 0:
            raise OSError(errno.EBADF, "the descriptor is closed")
        return self._number

    def call(self, function: Callable[Concatenate[int, _P], _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function with the number and further arguments.

        Raises:
            OSError: the function raised it, or the descriptor was closed.
        """
        with self._exclusive():
            return function(self.number, *args, **kwargs)

    def duplicate_call(self, function: Callable[[int], object]) -> Callable[[], None]:
        """Return a call of a function on a duplicate of this descriptor, for another thread.

        The duplicate means the same open file, so errors are reported to it. It is closed after the call. Meanwhile
        this descriptor can be written to and closed.

        Raises:
            OSError: the descriptor was closed, or there are no more numbers.
        """
        duplicate = Descriptor(self.call(os.dup))

        def call() -> None:
            try:
                duplicate.call(function)
            except BaseException:
                duplicate.close_quietly()
                raise
            duplicate.close()

        return call

    def write(self, data: bytes) -> None:
        """Write everything, in as many calls as needed.

        Raises:
            OSError: the file refused; a part may be written.
        """
        view = memoryview(data)
        while view:
            view = view[self.call(os.write, view) :]

    def close(self) -> None:
        """Close; may be called more than once.

        Raises:
            OSError: the file reported an error, for example lost data. It is closed all the same.
        """
        with self._exclusive():
            number, self._number = self._number, -1
            if number >= 0:
                os.close(number)

    def close_quietly(self) -> None:
        """Close, ignoring errors."""
        with suppress(OSError):
            self.close()

    def _exclusive(self) -> AbstractContextManager[object]:
        # A forked child has no other threads, so a lock that one of them held at the fork is never released.
        return self._lock if os.getpid() == self._pid else nullcontext()
