"""Appends whole pieces to one file, and keeps what the disk has not confirmed.

In: pieces of bytes. Guarantees: a piece is in the file as a whole or can be taken back by `AppendFd.cut`. `unsynced`
holds what was appended since the last good sync. Once a call on the descriptor has failed, no later sync through it
counts: the kernel may have dropped what it had and call the next sync good. Its owner then has `unsynced` written again
through another descriptor. Not thread-safe.
"""

from __future__ import annotations

import os

from ranklog.journal.descriptor import Descriptor


class AppendFd:
    """One descriptor, opened with O_APPEND, of a file that nobody else writes.

    Args:
        fd: The descriptor; only this object uses it from here on.
        size: Size of the file.

    Attributes:
        size: Bytes of the pieces in the file.
        unsynced: Pieces that the disk has not confirmed, in order.
        trusted: Whether no call has failed, so that a sync is to be believed.
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
            OSError: the disk refused; the owner calls `cut` with the size from before.
        """
        self._fd.write(piece)
        self.size += len(piece)
        self.unsynced += [piece]

    def cut(self, size: int) -> bool:
        """Take back a piece that was appended, perhaps in part only, behind ``size``; whether that worked.

        Where it fails the descriptor is closed, and the piece stays at the end of the file: torn, or whole, since a
        file system over a network may report an error although it has everything.
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
        """Keep a piece that could not be taken back, to be written again with what is not confirmed."""
        self.unsynced += [piece]

    def sync(self) -> None:
        """Ask the disk to keep what was appended.

        Raises:
            OSError: the disk refused.
        """
        try:
            self._fd.call(os.fdatasync)
        except BaseException:
            self.trusted = False
            raise
        self.unsynced = []

    def touch(self) -> None:
        """Give the file a new time of change."""
        self._fd.call(os.utime)

    def close(self) -> None:
        """Close; what an error of the close could mean, `unsynced` covers."""
        self._fd.close_quietly()
