"""Spill files: where each rank keeps, in the run directory, what it can no longer send to rank 0.

``spill/<meeting>-rank-00003.rlj``, one a rank and meeting: a meeting is one time that the ranks of a run came together.
While its rank may still write, a file's name ends in ``.open``.
In and out go packets, opaque bytes to this module, framed as records are. One writer a file, opened with O_EXCL, 0600;
a packet survives a kill of the process when `SpillWriter.append` has returned, and a crash of the machine when `sync`
has, which `append` calls about once a second. A torn end is cut by the reader. After a call on the file failed, what
was not synced is written again through another descriptor: nobody reads the file before its rank has ended.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from ranklog.journal.append_fd import AppendFd
from ranklog.journal.descriptor import Descriptor
from ranklog.journal.frame import Payload, unwrap, wrap
from ranklog.journal.layout import create_private, make_private_dir

FOLDER = "spill"
SYNC_EVERY_S = 1.0
SYNC_BYTES = 1024 * 1024
_NAME = re.compile(r"(?P<meeting>[0-9a-f]+)-rank-(?P<rank>\d{5,})\.rlj(?P<open>\.open)?")


class SpillFile(msgspec.Struct, frozen=True, order=True):
    """One rank's spill file.

    Attributes:
        meeting: Which time the ranks had come together.
        rank: Whose it is.
        ended: Whether its rank closed its logger, so that it will not grow.
        path: Where it lies.
    """

    meeting: str
    rank: int
    ended: bool
    path: Path


def spill_files(run_dir: Path) -> list[SpillFile]:
    """Spill files of a run, by meeting and rank."""
    try:
        names = os.listdir(run_dir / FOLDER)  # noqa: PTH208 - one entry a rank
    except FileNotFoundError:
        return []
    found = [(m, name) for name in names if (m := _NAME.fullmatch(name))]
    return sorted(SpillFile(m["meeting"], int(m["rank"]), not m["open"], run_dir / FOLDER / name) for m, name in found)


class SpillWriter:
    """The one writer of a rank's spill file.

    Args:
        run_dir: The run directory, which exists.
        meeting: Lower-case hex digits, the same on every rank.
        rank: This rank.

    Raises:
        OSError: the file cannot be created, or there is one.
    """

    def __init__(self, run_dir: Path, meeting: str, rank: int) -> None:
        make_private_dir(run_dir / FOLDER)
        self._path = run_dir / FOLDER / f"{meeting}-rank-{rank:05d}.rlj.open"
        self._fd = AppendFd(Descriptor(create_private(self._path, os.O_APPEND)))
        self._number = 0
        self._synced_s = time.monotonic()
        self._ended = False

    def append(self, packet: bytes) -> None:
        """Append one packet; a failed append leaves no half packet behind.

        Raises:
            OSError: the disk refused.
            ValueError: the packet is too large.
        """
        frame = wrap(packet, self._number, 1)
        if not self._fd.is_open:
            self._reopen()
        size = self._fd.size
        try:
            self._fd.append(frame)
            self._number += 1
        except BaseException:
            self._fd.cut(size)
            raise
        due = time.monotonic() - self._synced_s >= SYNC_EVERY_S
        if due or sum(map(len, self._fd.unsynced)) >= SYNC_BYTES:
            with suppress(OSError):  # the packet is in the file; `sync` and `end` try again
                self.sync()

    def sync(self) -> None:
        """Ask the disk to keep what was appended.

        Raises:
            OSError: the disk refused; the next call writes it again.
        """
        self._synced_s = time.monotonic()
        if not self._fd.unsynced:
            return
        if not (self._fd.is_open and self._fd.trusted):
            self._reopen()
        self._fd.sync()

    def _reopen(self) -> None:
        """Go on through another descriptor, and write again what the disk has not confirmed."""
        old = self._fd
        fd = Descriptor(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
        new = AppendFd(fd, old.size - sum(map(len, old.unsynced)))
        try:
            fd.call(os.ftruncate, new.size)
            for frame in old.unsynced:
                new.append(frame)
        except BaseException:
            new.close()
            raise
        self._fd = new
        old.close()

    def end(self) -> None:
        """Sync and close: the file will not grow; may be called twice.

        Raises:
            OSError: the disk refused.
        """
        if self._ended:
            return
        self._ended = True
        try:
            try:
                self.sync()
            except OSError:
                self.sync()  # through another descriptor: there is no later time
        finally:
            self._fd.close()
            self._path.rename(self._path.with_suffix(""))


def read_spill(path: Path) -> list[bytes]:
    """Packets of a spill file, up to the first place that cannot be read."""
    data = path.read_bytes()
    packets: list[bytes] = []
    offset = 0
    while isinstance(found := unwrap(data, offset), Payload):
        packets.append(found.data)
        offset += found.size
    return packets
