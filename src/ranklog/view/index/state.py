"""The index as it was saved: where its reading of the journal stands, and what is not in blocks.

A frame like those of the journal guards it: magic, length, CRC-32C, msgpack. What cannot be read is no state.
"""

from __future__ import annotations

import struct

import msgspec
from crc32c import crc32c

from ranklog.journal.heads import Position
from ranklog.journal.reader import Damage
from ranklog.view.index.columns import Block
from ranklog.view.index.store import BlockStore
from ranklog.view.index.tables import Began, Other, Rewind, Tables

VERSION = 1
_HEADER = struct.Struct("<4sQI")
_MAGIC = b"RLX1"


class GroupState(msgspec.Struct, frozen=True, array_like=True):
    """A group of metrics; the tail has its rows that are in no block."""

    op: str | None
    names: tuple[str, ...]
    blocks: tuple[Block, ...]
    highest_step: int | None
    attempt: int | None
    increasing: bool
    tail: tuple[Block, bytes] | None


class Source(msgspec.Struct, frozen=True, array_like=True):
    """The part of the journal that was read, to recognise it.

    Attributes:
        run_id: The run.
        created_ns: When it was created.
        segments: Number and size of each segment that was read to its end.
        last_frame: First bytes of the frame before the position.
    """

    run_id: str
    created_ns: int
    segments: tuple[tuple[int, int], ...]
    last_frame: tuple[int, int, bytes]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of an index but its blocks.

    Attributes:
        version: Version of the format.
        source: What was read.
        position: Where reading goes on.
        damage: Parts of the journal that could not be read.
        blocks: Name of the file of blocks.
        size: Number of its bytes that count.
    """

    version: int
    source: Source
    position: Position
    damage: tuple[Damage, ...]
    blocks: str
    size: int
    groups: tuple[GroupState, ...]
    others: tuple[Other, ...]
    rewinds: dict[str, list[Rewind]]
    began: tuple[Began, ...]
    attempt: int
    records: int
    last_ns: dict[int, int]


def encode_state(state: State) -> bytes:
    """Return the bytes of a state."""
    return guard(msgspec.msgpack.encode(state))


def guard(payload: bytes) -> bytes:
    """Return bytes with a header by which damage is seen."""
    return _HEADER.pack(_MAGIC, len(payload), crc32c(payload)) + payload


def guarded(data: bytes) -> bytes | None:
    """Return the bytes that `guard` was given; None if they were changed."""
    if len(data) < _HEADER.size:
        return None
    magic, size, crc = _HEADER.unpack_from(data)
    payload = data[_HEADER.size :]
    return payload if magic == _MAGIC and len(payload) == size and crc32c(payload) == crc else None


def decode_state(data: bytes) -> State | None:
    """Return the state; None if the bytes are not one of this version."""
    payload = guarded(data)
    if payload is None:
        return None
    try:
        if msgspec.msgpack.decode(payload, type=_Versioned).version != VERSION:
            return None
        return msgspec.msgpack.decode(payload, type=State)
    except msgspec.MsgspecError:
        return None


class _Versioned(msgspec.Struct):
    version: int


def state_of(tables: Tables, *, source: Source, position: Position, damage: tuple[Damage, ...], blocks: str) -> State:
    """Return the state of tables."""
    groups = (
        GroupState(
            op=group.op,
            names=group.names,
            blocks=tuple(group.blocks),
            highest_step=group.highest_step,
            attempt=group.attempt,
            increasing=group.increasing,
            tail=group.encode_tail(),
        )
        for group in tables.groups
    )
    return State(
        version=VERSION,
        source=source,
        position=position,
        damage=damage,
        blocks=blocks,
        size=tables.store.size,
        groups=tuple(groups),
        others=tuple(tables.others),
        rewinds=tables.rewinds,
        began=tuple(tables.began),
        attempt=tables.attempt,
        records=tables.records,
        last_ns=tables.last_ns,
    )


def tables_of(state: State, store: BlockStore) -> Tables:
    """Return the tables of a state.

    Raises:
        DamagedBlockError: it contradicts itself.
    """
    tables = Tables(store)
    for saved in state.groups:
        group = tables.add_group(saved.op, saved.names)
        group.blocks = list(saved.blocks)
        group.block_rows = sum(block.rows for block in saved.blocks)
        group.highest_step, group.attempt, group.increasing = saved.highest_step, saved.attempt, saved.increasing
        if saved.tail is not None:
            group.decode_tail(*saved.tail)
    tables.others = list(state.others)
    tables.rewinds = dict(state.rewinds)
    tables.attempt, tables.records, tables.last_ns = state.attempt, state.records, dict(state.last_ns)
    tables.restore(list(state.began))
    return tables
