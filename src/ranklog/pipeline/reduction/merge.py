"""Spill files of a run: writes the file of this rank, and merges the files of all ranks into records.

In: items from the rounds of a rank that can no longer reach the others. Out: its file in the run directory; later, on
rank 0 when it closes or in ``ranklog sync``, records for the journal. Merging reads all files of a rendezvous each
time, so a file that arrives late corrects the earlier merge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ranklog.journal.heads import read_heads
from ranklog.journal.reader import last_end, read_run
from ranklog.journal.spill_file import FOLDER, SpillFile, SpillWriter, read_spill, spill_files
from ranklog.journal.writer import JournalWriter
from ranklog.model.record import End, Event, Record
from ranklog.reduce.spill.format import unpack
from ranklog.reduce.spill.merge import Spills

MERGED = "spill_merged"
"""Code of the event that says what was merged."""


class SpillSink:
    """This rank's spill file, created when the first items come; for the reducer thread.

    Args:
        rank: This rank.
        reach_run_dir: Waits for the run directory and returns it.

    Attributes:
        synced: Whether the disk has everything that was written.
    """

    def __init__(self, rank: int, reach_run_dir: Callable[[], Path]) -> None:
        self._rank = rank
        self._reach_run_dir = reach_run_dir
        self._writer: SpillWriter | None = None
        self.synced = True

    def write(self, rendezvous: str, packet: bytes) -> None:
        """Append a packet; the first one waits for the run directory.

        Raises:
            RanklogError: the run directory was not there within the time limit.
            OSError: the disk refuses.
        """
        if self._writer is None:
            self._writer = SpillWriter(self._reach_run_dir(), rendezvous, self._rank)
        self.synced = False
        self._writer.append(packet)

    def sync(self) -> bool:
        """Ask the disk to keep everything; returns whether it did."""
        try:
            if self._writer is not None:
                self._writer.sync()
        except OSError:
            self.synced = False
        else:
            self.synced = True
        return self.synced

    def end(self) -> None:
        """Close the file: nothing more will come."""
        if self._writer is not None:
            self._writer.end()


def unmerged(run_dir: Path, journal: Iterable[Record]) -> list[str]:
    """Rendezvous of which a file is new, or has grown, since the journal says that they were merged."""
    rendezvous_names = {file.rendezvous for file in spill_files(run_dir) if file.rank}
    if not rendezvous_names:
        return []
    merged = {record.text for record in journal if isinstance(record, Event) and record.code == MERGED}
    return sorted(name for name in rendezvous_names if _merged_text(name, _files(run_dir, name)) not in merged)


def merge_rendezvous(run_dir: Path, rendezvous: str) -> list[Record]:
    """Records of the spill files of one rendezvous, and an event that says that they were merged.

    Raises:
        RanklogError: a file holds what cannot be read.
        OSError: a file cannot be read.
    """
    files = _files(run_dir, rendezvous)
    event = Event("info", MERGED, _merged_text(rendezvous, files), time.time_ns())
    items = {file.rank: [item for packet in read_spill(file.path) for item in unpack(packet)] for file in files}
    spills = Spills(items, {file.rank for file in files if file.ended})
    return [*spills.records(_journal(run_dir)), event]


def _files(run_dir: Path, rendezvous: str) -> list[SpillFile]:
    return [file for file in spill_files(run_dir) if file.rendezvous == rendezvous]


def _journal(run_dir: Path) -> Iterator[Record]:
    for entry in read_run(run_dir):
        yield entry.record


def _merged_text(rendezvous: str, files: Sequence[SpillFile]) -> str:
    size = sum(file.path.stat().st_size for file in files)
    return f"merged {len(files)} files of {FOLDER}/{rendezvous}, {size} bytes"


def append_merged(run_dir: Path) -> int:
    """Merge what was kept into the journal of a run that is over; returns how many records that gave.

    They are written as a segment of their own, with the attempt and the end that the run had.

    Raises:
        RanklogError: a file holds what cannot be read.
        OSError: the disk refuses.
    """
    heads = read_heads(run_dir)
    rendezvous_names = unmerged(run_dir, _journal(run_dir)) if heads else []
    records = [record for name in rendezvous_names for record in merge_rendezvous(run_dir, name)]
    if not records:
        return 0
    end = last_end(run_dir) or End("KILLED", time.time_ns(), "the run had no end when its ranks' files were merged")
    writer = JournalWriter(run_dir, heads[-1].attempt)
    try:
        writer.append([*records, end])
    finally:
        writer.close()
    return len(records)


def kept_bytes(run_dir: Path, rendezvous: str) -> int:
    """Size of the files of a rendezvous."""
    return sum(file.path.stat().st_size for file in _files(run_dir, rendezvous))


def ranks_without_file(run_dir: Path, rendezvous: str, ranks: Iterable[int]) -> list[int]:
    """Those of ``ranks`` that have kept nothing: they ended or hang, or had nothing to keep."""
    seen = {file.rank for file in _files(run_dir, rendezvous)}
    return sorted(set(ranks) - seen)


def still_open(run_dir: Path, rendezvous: str) -> bool:
    """Whether a rank may still write its file."""
    return any(not file.ended for file in _files(run_dir, rendezvous) if file.rank)


def kept_by_others(run_dir: Path, rendezvous: str) -> bool:
    """Whether a rank other than 0 has kept values."""
    return any(file.rank for file in _files(run_dir, rendezvous))
