"""The wake-up descriptor that another library, for example asyncio, had set before ours.

Its owner may close it at any time, and then the number may mean a file of the program. So what it gets is written
through a duplicate, and it is put back only while the number still means the same pipe or socket.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from ranklog.journal.descriptor import Descriptor


class EarlierWakeup:
    """Passes bytes on to an earlier wake-up descriptor, and puts it back.

    Args:
        number: What `signal.set_wakeup_fd` returned; negative where there was none.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._copy: Descriptor | None = None
        if number >= 0:
            with suppress(OSError):  # it was closed before
                self._copy = Descriptor(os.dup(number))

    def pass_on(self, number: int) -> None:
        """Give it the byte of a signal; one that is full or closed gets none."""
        if self._copy is not None:
            with suppress(OSError):
                self._copy.call(os.write, bytes([number]))

    def put_back(self) -> None:
        """Make it the wake-up descriptor again, where it is still there; in the main thread."""
        if self._copy is not None:
            with suppress(OSError, ValueError):
                if self._copy.call(os.path.sameopenfile, self._number):
                    signal.set_wakeup_fd(self._number, warn_on_full_buffer=False)

    def close(self) -> None:
        """Let it go."""
        if self._copy is not None:
            self._copy.let_go()
