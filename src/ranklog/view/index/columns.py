"""Blocks of metric rows as bytes, with columns that are read one by one. Pure.

A block holds up to some thousand rows of one group of metrics, that is, of metrics that were logged together. Columns
that all metrics of a row share (`SHARED`) come first. A shared column that is constant, or grows by a constant stride,
takes no space. Then follow the values of each metric, little-endian float64, and behind each of them its pyramid: per
`PYRAMID_ROWS` rows the lowest and highest finite value, their places, and the counts of NaN and infinities.

Every column has a CRC-32C in a table at the end of the block, so damage of the cache is seen when it is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec
import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from ranklog.view.index.extremes import Extremes, extremes_of

Key = TypeVar("Key")
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SHARED = ("ordinal", "step", "time_ns", "attempt", "to", "answered", "world_size", "contributed")
ORDINAL, STEP, TIME, ATTEMPT, TO, ANSWERED, WORLD_SIZE, CONTRIBUTED = range(len(SHARED))
PYRAMID_ROWS = 64
_PYRAMID_BYTES = 2 * 8 + 5
_CRC = np.dtype("<u4")
_INT64_END = 1 << 63
_KEPT = 1 << 21
"""Numbers of shared columns, and of checksums, that are kept in memory."""


class DamagedBlockError(Exception):
    """A block of the cache is not what was written."""


class Stride(msgspec.Struct, frozen=True, array_like=True):
    """A shared column as ``first + stride * row``; or, if ``stored``, as int64 at byte ``first`` of the block."""

    first: int
    stride: int
    stored: bool = False


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Where a block lies, and its shared columns.

    Attributes:
        group: Number of the group of metrics.
        offset: Byte offset in the file.
        size: Size in bytes.
        rows: Number of rows.
        shared: One per name of `SHARED`.
    """

    group: int
    offset: int
    size: int
    rows: int
    shared: tuple[Stride, ...]


Read = Callable[[int, int], bytes]
"""Reads bytes from an offset on: ``read(offset, size)``."""


def encode_block(group: int, offset: int, shared: Ints, values: Floats) -> tuple[Block, bytes]:
    """Encode rows as a block.

    Args:
        group: Number of the group.
        offset: Where the block will lie in its file.
        shared: Shared columns; shape (columns, rows).
        values: Values; shape (metrics, rows).
    """
    rows = shared.shape[1]
    parts: list[bytes] = []
    strides: list[Stride] = []
    for column in shared:
        first, stride = int(column[0]), int(column[1]) - int(column[0]) if rows > 1 else 0
        if -_INT64_END <= stride < _INT64_END and (np.diff(column) == stride).all():
            strides.append(Stride(first, stride))
        else:
            strides.append(Stride(8 * rows * len(parts), 0, stored=True))
            parts.append(column.astype("<i8").tobytes())
    for column in values:
        parts.append(column.astype("<f8").tobytes())
        parts.append(_encode_pyramid(column))
    parts.append(np.array([crc32c(part) for part in parts], _CRC).tobytes())
    data = b"".join(parts)
    return Block(group, offset, len(data), rows, tuple(strides)), data


def _encode_pyramid(column: Floats) -> bytes:
    starts = np.arange(0, len(column), PYRAMID_ROWS)
    found = extremes_of(column, starts)
    small = [found.low_at - starts, found.high_at - starts, found.nan, found.posinf, found.neginf]
    wide = [found.low.astype("<f8").tobytes(), found.high.astype("<f8").tobytes()]
    return b"".join([*wide, *(part.astype(np.uint8).tobytes() for part in small)])


class Newest(Generic[Key]):
    """The arrays that were kept last.

    Args:
        most: Number of elements to keep.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Key, Ints] = OrderedDict()
        self._size = 0

    def get(self, key: Key) -> Ints | None:
        """Return an array, if it is kept."""
        return self._kept.get(key)

    def keep(self, key: Key, array: Ints) -> Ints:
        """Keep an array and return it; forget the oldest ones if there are too many elements."""
        self._kept[key] = array
        self._size += len(array)
        while self._size > self._most and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1])
        return array


class BlockReader:
    """Reads columns of blocks, and keeps shared ones and checksums that were read last.

    Args:
        read: Reads bytes of the store.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._checksums: Newest[int] = Newest(_KEPT)
        self._shared: Newest[tuple[int, int]] = Newest(_KEPT)

    def shared(self, block: Block, column: int) -> Ints:
        """Return a shared column of a block. It must not be changed.

        Raises:
            DamagedBlockError: it is not what was written.
        """
        place = block.shared[column]
        if not place.stored:
            return place.first + place.stride * np.arange(block.rows, dtype=np.int64)
        key = (block.offset, column)
        found = self._shared.get(key)
        if found is None:
            data = self._part(block, place.first // (8 * block.rows), place.first, 8 * block.rows)
            found = self._shared.keep(key, np.frombuffer(data, "<i8").astype(np.int64, copy=False))
        return found

    def values(self, block: Block, metric: int) -> Floats:
        """Return the values of one metric of a block.

        Raises:
            DamagedBlockError: they are not what was written.
        """
        stored, start, width = _place(block)
        data = self._part(block, stored + 2 * metric, start + width * metric, 8 * block.rows)
        return np.frombuffer(data, "<f8").astype(np.float64, copy=False)

    def pyramid(self, block: Block, metric: int) -> Extremes:
        """Return the extremes of one metric per `PYRAMID_ROWS` rows; places are rows of the block.

        Raises:
            DamagedBlockError: they are not what was written.
        """
        stored, start, width = _place(block)
        entries = -(-block.rows // PYRAMID_ROWS)
        offset = start + width * metric + 8 * block.rows
        data = self._part(block, stored + 2 * metric + 1, offset, _PYRAMID_BYTES * entries)
        wide = np.frombuffer(data, "<f8", 2 * entries).astype(np.float64, copy=False).reshape(2, entries)
        small = np.frombuffer(data, np.uint8, offset=16 * entries).astype(np.int64).reshape(5, entries)
        starts = np.arange(entries) * PYRAMID_ROWS
        return Extremes(wide[0], wide[1], small[0] + starts, small[1] + starts, small[2], small[3], small[4])

    def _part(self, block: Block, part: int, offset: int, size: int) -> bytes:
        data = self._read(block.offset + offset, size)
        checksums = self._checksums_of(block)
        if len(data) != size or part >= len(checksums) or crc32c(data) != checksums[part]:
            raise DamagedBlockError(f"part {part} of the block at byte {block.offset} is damaged")
        return data

    def _checksums_of(self, block: Block) -> Ints:
        found = self._checksums.get(block.offset)
        if found is None:
            stored, start, width = _place(block)
            metrics = (block.size - start - _CRC.itemsize * stored) // (width + 2 * _CRC.itemsize)
            size = _CRC.itemsize * (stored + 2 * metrics)
            table = self._read(block.offset + block.size - size, size)
            numbers = np.frombuffer(table[: len(table) // 4 * 4], _CRC).astype(np.int64)
            found = self._checksums.keep(block.offset, numbers)
        return found


def _place(block: Block) -> tuple[int, int, int]:
    """Return the number of stored shared columns, where the metrics begin, and the bytes of one metric."""
    stored = sum(place.stored for place in block.shared)
    pyramid = _PYRAMID_BYTES * -(-block.rows // PYRAMID_ROWS)
    return stored, 8 * block.rows * stored, 8 * block.rows + pyramid


def join_shared(parts: Sequence[Ints]) -> Ints:
    """Join parts of one column."""
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def join_values(parts: Sequence[Floats]) -> Floats:
    """Join parts of one metric's values."""
    return np.concatenate(parts) if parts else np.empty(0, np.float64)
