"""Spill files of a run: writes the file of this rank, and merges the files of all ranks into records.

In: items from the rounds of a rank that can no longer reach the others. Out: its file in the run directory; later, on
rank 0 when it closes or in ``ranklog sync``, records for the journal. Merging reads all files of a rendezvous each
time, so a file that arrives late corrects the earlier merge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from ranklog.journal.heads import Head, read_heads
from ranklog.journal.reader import last_end, read_run
from ranklog.journal.spill_file import FOLDER, SpillFile, SpillWriter, read_spill, spill_files
from ranklog.journal.superseded import Rewinds
from ranklog.journal.writer import JournalWriter
from ranklog.model.record import Attempt, End, Event, Metrics, Record
from ranklog.reduce.spill.format import SpillHead, unpack
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
    merged = _merged_texts(journal)
    return sorted(name for name in rendezvous_names if _merged_text(name, _files(run_dir, name)) not in merged)


def _merged_texts(journal: Iterable[Record]) -> set[str]:
    return {record.text for record in journal if isinstance(record, Event) and record.code == MERGED}


def merge_rendezvous(run_dir: Path, rendezvous: str, *, merged_before: bool = False) -> list[Record]:
    """Records of the spill files of one rendezvous, and an event that says that they were merged.

    Args:
        run_dir: The run directory.
        rendezvous: Name of the files.
        merged_before: Whether the journal may have records of these files already; they are not repeated.

    Raises:
        RanklogError: a file holds what cannot be read.
        OSError: a file cannot be read.
    """
    attempt = _attempt_of(run_dir, rendezvous, read_heads(run_dir))
    return _merge(run_dir, rendezvous, attempt, merged_before=merged_before)


def _merge(run_dir: Path, rendezvous: str, attempt: int, *, merged_before: bool) -> list[Record]:
    files = _files(run_dir, rendezvous)
    event = Event("info", MERGED, _merged_text(rendezvous, files), time.time_ns())
    items = {file.rank: [item for packet in read_spill(file.path) for item in unpack(packet)] for file in files}
    spills = Spills(items, {file.rank for file in files if file.ended}, merged_before=merged_before)
    return [*spills.records(_journal(run_dir, attempt)), event]


def _files(run_dir: Path, rendezvous: str) -> list[SpillFile]:
    return [file for file in spill_files(run_dir) if file.rendezvous == rendezvous]


def _journal(run_dir: Path, attempt: int | None = None) -> Iterator[Record]:
    """Yield the records of a run, or of one attempt."""
    current: int | None = None
    for entry in read_run(run_dir):
        if isinstance(entry.record, Attempt):
            current = entry.record.attempt
        if attempt is None or current == attempt:
            yield entry.record


def _merged_text(rendezvous: str, files: Sequence[SpillFile]) -> str:
    size = sum(file.path.stat().st_size for file in files)
    return f"merged {len(files)} files of {FOLDER}/{rendezvous}, {size} bytes"


def append_merged(run_dir: Path) -> int:
    """Merge what was kept into the journal of a run that is over; returns how many records that gave.

    The records go to segments of the attempt in which their ranks were connected, because the values of a later attempt
    replace those of an earlier one. The last segment belongs to the last attempt and has the end that the run had.

    Raises:
        RanklogError: a file holds what cannot be read.
        OSError: the disk refuses.
    """
    heads = read_heads(run_dir)
    rendezvous_names = unmerged(run_dir, _journal(run_dir)) if heads else []
    if not rendezvous_names:
        return 0
    merged = _merged_texts(_journal(run_dir))
    by_attempt: dict[int, list[Record]] = {}
    for name in rendezvous_names:
        before = any(f"{FOLDER}/{name}," in text for text in merged)
        attempt = _attempt_of(run_dir, name, heads)
        by_attempt.setdefault(attempt, []).extend(_merge(run_dir, name, attempt, merged_before=before))
    attempts = {head.attempt.attempt: head.attempt for head in heads}
    last = heads[-1].attempt.attempt
    end = last_end(run_dir) or End("KILLED", time.time_ns(), "the run had no end when its ranks' files were merged")
    rewinds = _rewinds(run_dir)
    for number in sorted(by_attempt.keys() - {last}):
        _append_segment(run_dir, attempts[number], _not_superseded(by_attempt[number], number, rewinds))
    _append_segment(run_dir, attempts[last], [*by_attempt.get(last, ()), end])
    return sum(map(len, by_attempt.values()))


def _rewinds(run_dir: Path) -> Rewinds:
    rewinds = Rewinds()
    attempt = 0
    for record in _journal(run_dir):
        if isinstance(record, Attempt):
            attempt = record.attempt
        elif isinstance(record, Metrics):
            rewinds.add(record.values, step=record.step, attempt=attempt)
    return rewinds


def _not_superseded(records: Iterable[Record], attempt: int, rewinds: Rewinds) -> list[Record]:
    """Leave out values that a later attempt has replaced: backends would show them after the ones that count."""
    out: list[Record] = []
    for record in records:
        if isinstance(record, Metrics):
            step = record.step
            gone = {name for name in record.values if rewinds.is_superseded(name, step=step, attempt=attempt)}
            values = {name: value for name, value in record.values.items() if name not in gone}
            if not values:
                continue
            out.append(msgspec.structs.replace(record, values=values))
        else:
            out.append(record)
    return out


def _append_segment(run_dir: Path, attempt: Attempt, records: Sequence[Record]) -> None:
    writer = JournalWriter(run_dir, attempt)
    try:
        writer.append(records)
    finally:
        writer.close()


def _attempt_of(run_dir: Path, rendezvous: str, heads: Sequence[Head]) -> int:
    """Return the attempt that was running when the ranks of a rendezvous could no longer communicate."""
    files = sorted(_files(run_dir, rendezvous), key=lambda file: file.rank)  # rank 0 also wrote the heads' times
    for file in files:
        for packet in read_spill(file.path):
            for item in unpack(packet):
                if isinstance(item, SpillHead):
                    began = [head.attempt for head in heads if head.attempt.time_ns <= item.time_ns]
                    return max(began, key=lambda attempt: attempt.time_ns, default=heads[0].attempt).attempt
    return heads[-1].attempt.attempt if heads else 0


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
