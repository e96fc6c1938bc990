"""The wake-up descriptor of another library, for example asyncio, which was set before ours.

Its owner may close it at any time, and then its number may mean a file of the program. So bytes are written through a
duplicate, and the number is restored only while it still means the same pipe or socket.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from ranklog.journal.descriptor import Descriptor


class EarlierWakeup:
    """Passes bytes on to an earlier wake-up descriptor, and restores it.

    Args:
        number: What `signal.set_wakeup_fd` returned; negative when there was none.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._copy: Descriptor | None = None
        if number >= 0:
            with suppress(OSError):  # it is closed already
                self._copy = Descriptor(os.dup(number))

    def pass_on(self, number: int) -> None:
        """Write the byte of a signal, unless the descriptor is full or closed."""
        if self._copy is not None:
            with suppress(OSError):
                self._copy.call(os.write, bytes([number]))

    def restore(self) -> None:
        """Make it the wake-up descriptor again if it still exists. Call it in the main thread."""
        if self._copy is not None:
            with suppress(OSError, ValueError):
                if self._copy.call(os.path.sameopenfile, self._number):
                    signal.set_wakeup_fd(self._number, warn_on_full_buffer=False)

    def close(self) -> None:
        """Close the duplicate."""
        if self._copy is not None:
            self._copy.close_quietly()
