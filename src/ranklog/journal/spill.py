"""Spill files: where each rank keeps, in the run directory, what it can no longer send to rank 0.

``spill/<meeting>-rank-00003.rlj``, one a rank and meeting: a meeting is one time that the ranks of a run came together.
While its rank may still write, a file's name ends in ``.open``.
In and out go packets, opaque bytes to this module, framed as records are. One writer a file, opened with O_EXCL, 0600;
a packet survives a kill of the process when `SpillWriter.append` has returned. A torn end is cut by the reader.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from ranklog.journal.frame import Payload, unwrap, wrap
from ranklog.journal.layout import create_private, make_private_dir

FOLDER = "spill"
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
        self._fd = create_private(self._path, os.O_APPEND)
        self._size = 0
        self._number = 0

    def append(self, packet: bytes) -> None:
        """Append one packet; a failed append leaves no half packet behind.

        Raises:
            OSError: the disk refused.
            ValueError: the packet is too large.
        """
        frame = wrap(packet, self._number, 1)
        view = memoryview(frame)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except BaseException:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(frame)
        self._number += 1

    def end(self) -> None:
        """Sync and close: the file will not grow; may be called twice.

        Raises:
            OSError: the disk refused.
        """
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
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
