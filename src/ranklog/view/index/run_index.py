"""Index of one run: reads what was appended to the journal, and saves its state in the cache.

Guarantees: the answers are those of an index built from the whole journal at once. A state counts only if the journal
still is the one that it was read from, and is replaced after the blocks that it names are on the disk. What is damaged,
cut, or of another version is built again. Trouble with the cache is told in `notice`, and the index goes on in memory.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ranklog.journal.heads import Position
from ranklog.journal.layout import create_private, read_facts, segment_name, segments, write_private
from ranklog.journal.reader import Damage, JournalReader
from ranklog.model.record import Entry
from ranklog.view.index.cache import DIR_VARIABLE, STATE, CacheLock, cache_limit, cache_root, evict, index_dir
from ranklog.view.index.columns import DamagedBlockError
from ranklog.view.index.state import Source, State, decode_state, encode_state, state_of, tables_of
from ranklog.view.index.store import BlockStore
from ranklog.view.index.tables import Tables

SAVE_RECORDS = 16_384
"""Records after which the state is saved again."""
SAVE_PAUSE_FACTOR = 20.0
"""Pause between two saves, as a multiple of what the last one took."""
_FRAME_BYTES = 24


class RunIndex:
    """Index of a run's journal, in the cache if there is one.

    Args:
        run_dir: The run directory. Nothing is written there.
        root: Directory of the cache. Default: `cache_root`.
        cached: Whether to use the cache.

    Attributes:
        facts: Facts of the run.
        tables: What the journal says, as far as it was read.
        notice: Why the index is in memory only; empty if it is in the cache.

    Raises:
        RunNotFoundError: the directory is not a run.
    """

    def __init__(self, run_dir: Path, root: Path | None = None, *, cached: bool = True) -> None:
        self.run_dir = run_dir
        self.facts = read_facts(run_dir)
        self.notice = ""
        self._directory: Path | None = None
        self._lock: CacheLock | None = None
        self._old_damage: tuple[Damage, ...] = ()
        self._last_frame = Position()
        self._unsaved = 0
        self._save_at = 0.0
        self._entries: Iterator[Entry] | None = None
        self.tables: Tables
        self._reader: JournalReader
        self._seen: Source
        if cached:
            self._open_cache(cache_root() if root is None else root)
        self._start(self._load())

    def _open_cache(self, root: Path) -> None:
        try:
            self._directory = index_dir(self.run_dir, root)
            self._lock = CacheLock(self._directory)
            if self._lock.held and not (self._directory / STATE).exists():
                evict(root, cache_limit())
        except OSError as error:
            self.notice = _notice(error)

    @property
    def damage(self) -> list[Damage]:
        """Parts of the journal that cannot be read."""
        found = dict.fromkeys([*self._old_damage, *self._reader.damage])
        return [*found, *([self._reader.tail] if self._reader.tail else [])]

    def refresh(self) -> bool:
        """Read what was appended since; return whether there was anything.

        After an interruption, the next call goes on where it stopped.

        Raises:
            RunNotFoundError: the journal was replaced, and now the run directory is gone.
        """
        before = self.tables.records
        if self._entries is None and not self._is_same_journal(self._seen):
            self.rebuild()
        elif self._entries is None:
            self._try_damage_again()
        self._entries = self._reader.poll() if self._entries is None else self._entries
        for entry in self._entries:
            position = self._reader.position
            if position != self._last_frame and self._is_due():
                self._save()
            self._last_frame = position
            self.tables.take(entry, position.segment, position.offset)
            self._unsaved += 1
        self._entries = None
        self._seen = self._source()
        if self._is_due():
            self._save()
        return self.tables.records != before

    def _try_damage_again(self) -> None:
        """Go on at damage that is not certain: a network file system may have shown a frame before it was whole."""
        if self._reader.damage != self._reader.certain_damage:
            self._old_damage = self._certain_damage
            self._reader = JournalReader(self.run_dir, self._reader.resumes_at)

    @property
    def _certain_damage(self) -> tuple[Damage, ...]:
        return tuple(dict.fromkeys([*self._old_damage, *self._reader.certain_damage]))

    def _is_due(self) -> bool:
        return self._unsaved >= SAVE_RECORDS and time.monotonic() >= self._save_at

    def rebuild(self) -> None:
        """Forget what was read, and begin again.

        Raises:
            RunNotFoundError: the run directory is gone; what was read stays.
        """
        self.facts = read_facts(self.run_dir)
        self.tables.store.close()
        self._start(None)

    def save(self) -> None:
        """Save what was read since the last time, if the reading is not in the middle of something."""
        if self._entries is None and self._unsaved:
            self._save()

    def close(self) -> None:
        """Save the state and give the cache to others."""
        self.save()
        self.tables.store.close()
        if self._lock is not None:
            self._lock.release()

    def _start(self, loaded: tuple[State, BlockStore] | None) -> None:
        self._entries = None
        self._unsaved = 0
        if loaded is not None:
            state, store = loaded
            with suppress(DamagedBlockError, ValueError, IndexError):
                self.tables = tables_of(state, store)
                self._blocks = state.blocks
                self._old_damage = state.damage
                self._last_frame = Position(*state.source.last_frame[:2])
                self._reader = JournalReader(self.run_dir, state.position)
                self._seen = state.source
                return
            store.close()
        self._blocks = f"blocks-{secrets.token_hex(4)}"
        self._old_damage = ()
        self._last_frame = Position()
        self.tables = Tables(self._new_store())
        self._reader = JournalReader(self.run_dir)
        self._seen = self._source()

    def _new_store(self) -> BlockStore:
        if self._directory is None or self._lock is None or not self._lock.held:
            return BlockStore()
        try:
            for old in self._directory.glob("blocks-*"):
                old.unlink()
            path = self._directory / self._blocks
            os.close(create_private(path))
            return BlockStore(path, writable=True)
        except OSError as error:
            self._leave_cache(error)
            return BlockStore()

    def _load(self) -> tuple[State, BlockStore] | None:
        """Return the saved state with its blocks, if it is of this journal."""
        if self._directory is None or self._lock is None:
            return None
        try:
            state = decode_state((self._directory / STATE).read_bytes())
            if state is None or not self._is_same_journal(state.source):
                return None
            path = self._directory / state.blocks
            if path.parent != self._directory or path.stat().st_size < state.size:
                return None
            store = BlockStore(path, size=state.size, writable=self._lock.held)
        except (OSError, ValueError):
            return None
        with suppress(OSError):
            os.utime(self._directory / STATE)  # it was used
        return state, store

    def _save(self) -> None:
        self._unsaved = 0
        if self._directory is None or self._lock is None or not self._lock.held:
            return
        began = time.monotonic()
        state = state_of(
            self.tables,
            source=self._source(),
            position=self._reader.resumes_at,
            damage=self._certain_damage,
            blocks=self._blocks,
        )
        try:
            self.tables.store.sync()
            write_private(self._directory / STATE, encode_state(state))
        except OSError as error:
            self._leave_cache(error)
            self.tables.store.leave_disk()
        ended = time.monotonic()
        self._save_at = ended + SAVE_PAUSE_FACTOR * (ended - began)

    def _leave_cache(self, error: OSError) -> None:
        self.notice = _notice(error)
        if self._lock is not None:
            self._lock.release()

    def _source(self) -> Source:
        position, frame = self._reader.position, self._last_frame
        sizes = tuple(each for each in _sizes(self.run_dir) if each[0] < position.segment)
        start = _read_at(self.run_dir, frame)
        return Source(self.facts.run_id, self.facts.created_ns, sizes, (frame.segment, frame.offset, start))

    def _is_same_journal(self, source: Source) -> bool:
        """Whether the journal still begins with what was read."""
        segment, offset, start = source.last_frame
        if (source.run_id, source.created_ns) != (self.facts.run_id, self.facts.created_ns):
            return False
        sizes = dict(_sizes(self.run_dir))
        read = all(sizes.get(number) == size for number, size in source.segments)
        end = offset + _FRAME_BYTES + int.from_bytes(start[4:8], "little") if start else 0
        whole = sizes.get(segment, 0) >= end
        return read and whole and _read_at(self.run_dir, Position(segment, offset)) == start


def _sizes(run_dir: Path) -> list[tuple[int, int]]:
    found = []
    for number, path in segments(run_dir):
        with suppress(OSError):
            found.append((number, path.stat().st_size))
    return found


def _read_at(run_dir: Path, position: Position) -> bytes:
    """Return the first bytes of a frame; none if there is none."""
    if position.segment < 0:
        return b""
    try:
        with (run_dir / segment_name(position.segment)).open("rb") as file:
            file.seek(position.offset)
            return file.read(_FRAME_BYTES)
    except OSError:
        return b""


def _notice(error: OSError) -> str:
    return f"the cache cannot be used, what was read is kept in memory: {error}; {DIR_VARIABLE} sets another directory"
