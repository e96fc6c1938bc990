"""Spill files: each rank writes what it can no longer send to rank 0 to its own file in the run directory.

``spill/<rendezvous>-rank-00003.rlj``, one per rank and rendezvous. A rendezvous is one connection between the ranks of
a run; its name is random. The file's name ends in ``.open`` while its rank may still write.

In and out go packets, opaque bytes to this module, in the journal's frames. Each file has one writer and is opened with
O_EXCL, 0600. A packet survives a kill of the process once `SpillWriter.append` has returned. It survives a crash of the
machine after `sync`, which `append` calls about once per second. The reader cuts a torn end. After a failed call,
unsynced packets are written again through another descriptor, because nobody reads the file before its rank has ended.
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
_NAME = re.compile(r"(?P<rendezvous>[0-9a-f]+)-rank-(?P<rank>\d{5,})\.rlj(?P<open>\.open)?")


class SpillFile(msgspec.Struct, frozen=True, order=True):
    """One rank's spill file.

    Attributes:
        rendezvous: Name of the connection between the ranks.
        rank: Rank that wrote it.
        ended: Whether its rank closed its logger, so that it will not grow.
        path: Path of the file.
    """

    rendezvous: str
    rank: int
    ended: bool
    path: Path


def spill_files(run_dir: Path) -> list[SpillFile]:
    """Return the spill files of a run, by rendezvous and rank."""
    try:
        names = os.listdir(run_dir / FOLDER)  # noqa: PTH208 - one entry per rank
    except FileNotFoundError:
        return []
    found = [(m, name) for name in names if (m := _NAME.fullmatch(name))]
    return sorted(
        SpillFile(m["rendezvous"], int(m["rank"]), not m["open"], run_dir / FOLDER / name) for m, name in found
    )


class SpillWriter:
    """The only writer of a rank's spill file.

    Args:
        run_dir: The run directory, which exists.
        rendezvous: Lower-case hex digits, equal on every rank.
        rank: This rank.

    Raises:
        OSError: the file cannot be created, or exists.
    """

    def __init__(self, run_dir: Path, rendezvous: str, rank: int) -> None:
        make_private_dir(run_dir / FOLDER)
        self._path = run_dir / FOLDER / f"{rendezvous}-rank-{rank:05d}.rlj.open"
        self._fd = AppendFd(Descriptor(create_private(self._path, os.O_APPEND)))
        self._number = 0
        self._synced_s = time.monotonic()
        self._ended = False

    def append(self, packet: bytes) -> None:
        """Append one packet; a failed append leaves no partial packet behind.

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
            with suppress(OSError):  # the packet is in the file, and `sync` and `end` try again
                self.sync()

    def sync(self) -> None:
        """Sync the file.

        Raises:
            OSError: the disk refused; the next call writes the packets again.
        """
        self._synced_s = time.monotonic()
        if not self._fd.unsynced:
            return
        if not (self._fd.is_open and self._fd.trusted):
            self._reopen()
        self._fd.sync()

    def _reopen(self) -> None:
        """Continue through another descriptor, and write again what the disk has not confirmed."""
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
        """Sync and close; the file will not grow. May be called twice.

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
                self.sync()  # through another descriptor; there is no later chance
        finally:
            self._fd.close()
            self._path.rename(self._path.with_suffix(""))


def read_spill(path: Path) -> list[bytes]:
    """Return the packets of a spill file, up to the first place that cannot be read."""
    data = path.read_bytes()
    packets: list[bytes] = []
    offset = 0
    while isinstance(found := unwrap(data, offset), Payload):
        packets.append(found.data)
        offset += found.size
    return packets
