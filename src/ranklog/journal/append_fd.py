"""Append whole pieces to a file, and keep those that the disk has not confirmed.

In: pieces of bytes. Guarantees: a piece is in the file as a whole, or `AppendFd.cut` can remove it. `unsynced` holds
the pieces since the last good sync. Another thread may wait for a sync while pieces are appended. After a failed call,
no later sync through the same descriptor counts: the kernel may have dropped data and still report success. The owner
then writes `unsynced` again through another descriptor. All methods are for one thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeAlias

from ranklog.journal.descriptor import Descriptor

Waiter: TypeAlias = Callable[[Callable[[], None]], None]
"""Runs a call that waits for the disk, raises what it raises, and returns when it has ended."""


def in_this_thread(call: Callable[[], None]) -> None:
    """Run a call here: the simplest `Waiter`."""
    call()


class AppendFd:
    """One descriptor, opened with O_APPEND, of a file that nobody else writes.

    Args:
        fd: The descriptor; from here on only this object uses it.
        size: Size of the file.

    Attributes:
        size: Bytes of the pieces in the file.
        unsynced: Pieces that the disk has not confirmed, in order.
        trusted: Whether no call has failed, so that a sync counts.
    """

    def __init__(self, fd: Descriptor, size: int = 0) -> None:
        self._fd = fd
        self.size = size
        self.unsynced: list[bytes] = []
        self.trusted = True

    @property
    def is_open(self) -> bool:
        """Whether more can be appended."""
        return self._fd.is_open

    def append(self, piece: bytes) -> None:
        """Append a piece.

        Raises:
            OSError: the disk refused; the owner calls `cut` with the previous size.
        """
        self._fd.write(piece)
        self.size += len(piece)
        self.unsynced += [piece]

    def cut(self, size: int) -> bool:
        """Remove a piece that was appended, perhaps only in part, behind ``size``; return whether that worked.

        If it fails, the descriptor is closed and the piece stays at the end of the file, torn or whole: a network file
        system may report an error although it has everything.
        """
        self.trusted = False
        if self.size > size:
            self.size = size
            self.unsynced.pop()
        try:
            self._fd.call(os.ftruncate, size)
        except OSError:
            self.close()
            return False
        return True

    def carry(self, piece: bytes) -> None:
        """Keep a piece that could not be removed, so that it is written again with the unconfirmed ones."""
        self.unsynced += [piece]

    def sync(self, wait: Waiter = in_this_thread) -> None:
        """Sync the pieces that are in the file now.

        Args:
            wait: Runs the call that waits for the disk, and may append to this file meanwhile.

        Raises:
            OSError: the disk refused, or a call that was made meanwhile failed.
        """
        count = len(self.unsynced)
        try:
            wait(self._fd.duplicate_call(os.fdatasync))
        except BaseException:
            self.trusted = False
            raise
        if not self.trusted:
            raise OSError(errno.EIO, "a write failed while the file was synced")
        del self.unsynced[:count]

    def touch(self) -> None:
        """Update the file's modification time."""
        self._fd.call(os.utime)

    def close(self) -> None:
        """Close. An error does not matter, because `unsynced` has what it could lose."""
        self._fd.close_quietly()
