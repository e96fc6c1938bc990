"""One owner for each descriptor that this process holds as a number.

A number means our file only while that file is open. After a close the next file that anybody in this process opens,
perhaps a checkpoint, gets the same number. Guarantees: the number is forgotten before the close, and a close that fails
has closed all the same (as on Linux), so nothing is ever read from, written to or closed through a number that is no
longer ours. A call from one thread and a close from another exclude each other.
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
    """Owns one open descriptor until it is closed.

    Args:
        number: The descriptor; nobody else may close it.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler may come back to it in the same thread

    @property
    def is_open(self) -> bool:
        """Whether calls are possible."""
        return self._number >= 0

    @property
    def number(self) -> int:
        """The number, for a call that is over before anything can close it.

        Raises:
            OSError: the descriptor was closed.
        """
        if self._number < 0:
            raise OSError(errno.EBADF, "the descriptor is closed")
        return self._number

    def call(self, function: Callable[Concatenate[int, _P], _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function with the number and further arguments.

        Raises:
            OSError: the function does, or the descriptor was closed.
        """
        with self._exclusive():
            return function(self.number, *args, **kwargs)

    def write(self, data: bytes) -> None:
        """Write everything, in as many calls as that takes.

        Raises:
            OSError: the file refuses; a part may be written.
        """
        view = memoryview(data)
        while view:
            view = view[self.call(os.write, view) :]

    def close(self) -> None:
        """Close; may be called again.

        Raises:
            OSError: the file reports an error, for example that data was lost. It is closed all the same.
        """
        with self._exclusive():
            number, self._number = self._number, -1
            if number >= 0:
                os.close(number)

    def close_quietly(self) -> None:
        """Close where an error of the close changes nothing any more."""
        with suppress(OSError):
            self.close()

    def _exclusive(self) -> AbstractContextManager[object]:
        # A forked child has no other thread, and a lock that one held at the fork is never released there.
        return self._lock if os.getpid() == self._pid else nullcontext()
