"""Reads everything of a run and says what is wrong with it, without changing anything.

Checked: every frame with its checksum, ordinals without gaps, every file of every item with size and SHA-256,
cursors within the journal, permissions. A frame that a kill left unfinished is a remark, since no record that
was acknowledged is lost with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ranklog.journal.cursor import load_cursors
from ranklog.journal.layout import FACTS, read_facts, segment_name, segments
from ranklog.journal.reader import JournalReader
from ranklog.journal.store import blob_path
from ranklog.model.errors import RunNotFoundError
from ranklog.model.record import Entry, File, Item

FOLDERS = ("cursors", "blobs", "spill")
_CHUNK_BYTES = 1 << 20


class Finding(msgspec.Struct, frozen=True):
    """Something wrong, or worth a remark, and where."""

    where: str
    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify_run` found.

    Attributes:
        records: Records read.
        segments: Segments read.
        files: Files of items whose content was compared.
        problems: What is wrong.
        remarks: What is not wrong but worth knowing.
    """

    records: int
    segments: int
    files: int
    problems: list[Finding]
    remarks: list[Finding]


class _Check:
    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.problems: list[Finding] = []
        self.remarks: list[Finding] = []
        self.records = 0
        self.next_ordinal = 0
        self.checked: dict[str, str | None] = {}
        self.files = 0

    def journal(self) -> None:
        reader = JournalReader(self.run_dir)
        for entry in reader.poll():
            self.entry(entry, known_damage=bool(reader.damage))
        for damage in (*reader.damage, *([reader.tail] if reader.tail else [])):
            finding = Finding(f"{segment_name(damage.segment)} at byte {damage.offset}", damage.reason)
            (self.remarks if damage.torn else self.problems).append(finding)

    def entry(self, entry: Entry, *, known_damage: bool) -> None:
        if entry.ordinal != self.next_ordinal:
            gap = f"record {entry.ordinal} where {self.next_ordinal} was expected"
            # A gap after damage is what the damage hides; numbers that go back are never right.
            explained = known_damage and entry.ordinal > self.next_ordinal
            (self.remarks if explained else self.problems).append(Finding(segment_name(entry.segment), gap))
        self.records += 1
        self.next_ordinal = entry.ordinal + 1
        if isinstance(entry.record, Item):
            for file in entry.record.files:
                if trouble := self.content(file):
                    where = f"record {entry.ordinal}, {entry.record.kind} {entry.record.name!r}"
                    self.problems.append(Finding(where, f"{file.path}: {trouble}"))

    def content(self, file: File) -> str | None:
        """What is wrong with the content of one file; a blob that several items share is read once."""
        self.files += 1
        if file.data is not None:
            return _compare(file, len(file.data), hashlib.sha256(file.data).hexdigest())
        if file.sha256 not in self.checked:
            self.checked[file.sha256] = self.blob(file)
        return self.checked[file.sha256]

    def blob(self, file: File) -> str | None:
        digest, size = hashlib.sha256(), 0
        try:
            with blob_path(self.run_dir, file.sha256).open("rb") as blob:
                while chunk := blob.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        except (OSError, ValueError) as error:
            return f"its blob cannot be read: {error}"
        return _compare(file, size, digest.hexdigest())

    def cursors(self) -> None:
        for _, cursor in load_cursors(self.run_dir):
            if cursor.next_ordinal > self.next_ordinal:
                text = f"has passed record {cursor.next_ordinal - 1}, the journal ends before {self.next_ordinal}"
                self.problems.append(Finding(f"cursor of {cursor.backend}", text))
            for ordinal, reason in cursor.refused.items():
                self.remarks.append(Finding(f"cursor of {cursor.backend}", f"record {ordinal} was refused: {reason}"))

    def permissions(self) -> None:
        for path in _paths(self.run_dir):
            mode = path.lstat().st_mode & 0o777
            if mode & 0o077:
                allowed = "0700" if path.is_dir() else "0600"
                where = str(path.relative_to(self.run_dir.parent))
                self.problems.append(Finding(where, f"others may use it: mode {mode:04o} instead of {allowed}"))


def verify_run(run_dir: Path) -> Report:
    """Check everything of a run; reads all of it, blobs included.

    Raises:
        RunNotFoundError: when the directory is no run at all: neither facts nor journal.
    """
    check = _Check(run_dir)
    try:
        read_facts(run_dir)
    except RunNotFoundError as error:
        if not segments(run_dir):
            raise
        check.problems.append(Finding(FACTS, str(error)))
    check.journal()
    check.cursors()
    check.permissions()
    return Report(
        records=check.records,
        segments=len(segments(run_dir)),
        files=check.files,
        problems=check.problems,
        remarks=check.remarks,
    )


def _compare(file: File, size: int, digest: str) -> str | None:
    if size != file.size:
        return f"has {size} bytes instead of {file.size}"
    return None if digest == file.sha256 else "content does not match its SHA-256"


def _paths(run_dir: Path) -> Iterator[Path]:
    """What ranklog itself writes: the directory, its files, cursors and blobs."""
    yield run_dir
    for folder in (run_dir, *(run_dir / name for name in FOLDERS)):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if path.is_file() or path.name in FOLDERS)
