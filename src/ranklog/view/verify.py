"""Reads everything of a run and reports damage, without changing anything.

Checks the checksum of every frame, gaps between ordinals, size and SHA-256 of every file of every item, cursors beyond
the journal, and permissions. A last frame that a kill left unfinished is a remark: no acknowledged record is lost.
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
    """A problem or a remark, and its location."""

    where: str
    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `verify_run`.

    Attributes:
        records: Number of records read.
        segments: Number of segments read.
        files: Number of files of items whose content was compared.
        problems: Damage.
        remarks: Findings that are no damage.
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
            # Damage explains a gap after it, but never ordinals that go back.
            explained = known_damage and entry.ordinal > self.next_ordinal
            (self.remarks if explained else self.problems).append(Finding(segment_name(entry.segment), gap))
        self.records += 1
        self.next_ordinal = entry.ordinal + 1
        if isinstance(entry.record, Item):
            for file in entry.record.files:
                if problem := self.content(file):
                    where = f"record {entry.ordinal}, {entry.record.kind} {entry.record.name!r}"
                    self.problems.append(Finding(where, f"{file.path}: {problem}"))

    def content(self, file: File) -> str | None:
        """Return the problem with the content of one file, or None. A shared blob is read once."""
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
                text = (
                    f"is after record {cursor.next_ordinal - 1}, but the journal ends before record {self.next_ordinal}"
                )
                self.problems.append(Finding(f"cursor of {cursor.backend}", text))
            for ordinal, reason in cursor.refused.items():
                self.remarks.append(Finding(f"cursor of {cursor.backend}", f"record {ordinal} was refused: {reason}"))

    def permissions(self) -> None:
        for path in _paths(self.run_dir):
            mode = path.lstat().st_mode & 0o777
            if mode & 0o077:
                allowed = "0700" if path.is_dir() else "0600"
                where = str(path.relative_to(self.run_dir.parent))
                self.problems.append(Finding(where, f"other users have access: mode {mode:04o} instead of {allowed}"))


def verify_run(run_dir: Path) -> Report:
    """Check everything of a run, including blobs.

    Raises:
        RunNotFoundError: the directory has neither facts nor a journal.
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
    """Yield the paths that ranklog writes: the directory, its files, cursors and blobs."""
    yield run_dir
    for folder in (run_dir, *(run_dir / name for name in FOLDERS)):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if path.is_file() or path.name in FOLDERS)
