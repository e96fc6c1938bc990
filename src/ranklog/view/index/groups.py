"""Rows of metrics by group: metrics that were logged together, with one reduction, share their columns.

In: metric records in the order of the journal. Out: for a group, its shared columns and the values of each metric, in
that order. The newest rows of a group are in memory; whole blocks of them go to the store.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from ranklog.model.record import Coverage, Metrics
from ranklog.view.index.columns import (
    PYRAMID_ROWS,
    SHARED,
    Block,
    BlockReader,
    Floats,
    Ints,
    encode_block,
    join_shared,
    join_values,
)
from ranklog.view.index.extremes import Extremes, extremes_of, join_extremes
from ranklog.view.index.store import BlockStore

BLOCK_ROWS = 256 * PYRAMID_ROWS
_NO_COVERAGE = Coverage(0, 0, 0)


def shared_of(record: Metrics, ordinal: int, attempt: int) -> array[int]:
    """Return the shared columns of one row.

    Raises:
        OverflowError: one of its numbers exceeds 64 bits.
    """
    covered = record.coverage or _NO_COVERAGE
    coverage = (covered.answered, covered.world_size, covered.contributed)
    return array("q", (ordinal, record.step, record.time_ns, attempt, record.to, *coverage))


class Group:
    """Rows of the metrics that are logged together.

    Args:
        number: Its number.
        op: Reduction of the values; None for values of one rank.
        names: Names of the metrics, in the order of their columns.

    Attributes:
        rows: Number of rows.
        highest_step: Highest step so far.
        attempt: Attempt of the last row; None without rows.
        increasing: Whether each step is above the one before it. Then every row counts.
    """

    def __init__(self, number: int, op: str | None, names: tuple[str, ...]) -> None:
        self.number = number
        self.op = op
        self.names = names
        self._metric = {name: number for number, name in enumerate(names)}
        self.blocks: list[Block] = []
        self.block_rows = 0
        self.highest_step: int | None = None
        self.attempt: int | None = None
        self.increasing = True
        self.tail_shared = array("q")
        self.tail_values = array("d")

    @property
    def tail_rows(self) -> int:
        """Number of rows that are in no block."""
        return len(self.tail_shared) // len(SHARED)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.block_rows + self.tail_rows

    def add(self, record: Metrics, shared: array[int], attempt: int) -> None:
        """Add one row, with its shared columns."""
        step = record.step
        self.tail_shared.extend(shared)
        self.tail_values.extend(record.values.values())
        self.attempt = attempt
        if self.highest_step is None or step > self.highest_step:
            self.highest_step = step
        else:
            self.increasing = False

    def flush(self, store: BlockStore) -> int:
        """Move rows from memory to a block, a multiple of `PYRAMID_ROWS`; return the number of bytes moved."""
        rows = self.tail_rows - self.tail_rows % PYRAMID_ROWS
        if not rows:
            return 0
        block, data = encode_block(self.number, store.size, self._tail_shared()[:, :rows], self._tail()[:, :rows])
        store.append(data)
        self.blocks.append(block)
        self.block_rows += rows
        self.tail_shared = self.tail_shared[rows * len(SHARED) :]
        self.tail_values = self.tail_values[rows * len(self.names) :]
        return 8 * rows * (len(SHARED) + len(self.names))

    @property
    def tail_bytes(self) -> int:
        """Number of bytes of the rows that are in no block."""
        return 8 * (len(self.tail_shared) + len(self.tail_values))

    def encode_tail(self) -> tuple[Block, bytes] | None:
        """Return the rows that are in no block as a block of their own; None if there are none."""
        return encode_block(self.number, 0, self._tail_shared(), self._tail()) if self.tail_rows else None

    def decode_tail(self, block: Block, data: bytes) -> None:
        """Take rows from the block that `encode_tail` made.

        Raises:
            DamagedBlockError: it is not what was made.
        """
        reader = BlockReader(lambda offset, size: data[offset : offset + size])
        shared = np.stack([reader.shared(block, column) for column in range(len(SHARED))], axis=1)
        values = np.stack([reader.values(block, metric) for metric in range(len(self.names))], axis=1)
        self.tail_shared.frombytes(shared.tobytes())
        self.tail_values.frombytes(values.tobytes())

    # Views, which are given up before the next row comes: an array that is viewed cannot grow.

    def _tail_shared(self) -> Ints:
        return np.frombuffer(self.tail_shared, np.int64).reshape(-1, len(SHARED)).T

    def _tail(self) -> Floats:
        return np.frombuffer(self.tail_values, np.float64).reshape(-1, len(self.names)).T

    def shared(self, column: int, reader: BlockReader, *, every: int = 1) -> Ints:
        """Return a shared column, or only each row whose number is a multiple of ``every``.

        Args:
            column: Its number in `SHARED`.
            reader: Reads the blocks.
            every: A divisor of `PYRAMID_ROWS`.
        """
        parts = [reader.shared(block, column)[::every] for block in self.blocks]
        return join_shared([*parts, self._tail_shared()[column, ::every]])

    def values(self, name: str, reader: BlockReader, start: int = 0, end: int | None = None) -> Floats:
        """Return the values of a metric from row ``start`` to ``end``."""
        metric, end = self._metric[name], self.rows if end is None else end
        parts = [
            reader.values(block, metric)[max(0, start - first) : end - first]
            for first, block in self._placed()
            if first < end and first + block.rows > start
        ]
        if end > self.block_rows:
            parts.append(self._tail()[metric, max(0, start - self.block_rows) : end - self.block_rows])
        return join_values(parts)

    def gather(self, column: int, rows: Ints, reader: BlockReader) -> Ints:
        """Return a shared column at some rows, given in increasing order."""
        parts = [reader.shared(block, column)[at] for block, at in self._holding(rows)]
        return join_shared([*parts, self._tail_shared()[column, rows[rows >= self.block_rows] - self.block_rows]])

    def gather_values(self, name: str, rows: Ints, reader: BlockReader) -> Floats:
        """Return the values of a metric at some rows, given in increasing order."""
        metric = self._metric[name]
        parts = [reader.values(block, metric)[at] for block, at in self._holding(rows)]
        return join_values([*parts, self._tail()[metric, rows[rows >= self.block_rows] - self.block_rows]])

    def _holding(self, rows: Ints) -> Iterator[tuple[Block, Ints]]:
        """Yield each block that holds some of the rows, with their places in it."""
        for first, block in self._placed():
            start, end = np.searchsorted(rows, (first, first + block.rows))
            if start < end:
                yield block, rows[start:end] - first

    def extremes(self, name: str, reader: BlockReader) -> Extremes:
        """Return the extremes of a metric per `PYRAMID_ROWS` rows; places are rows of the group."""
        metric = self._metric[name]
        parts = [(first, reader.pyramid(block, metric)) for first, block in self._placed()]
        if self.tail_rows:
            tail = self._tail()[metric]
            parts.append((self.block_rows, extremes_of(tail, np.arange(0, len(tail), PYRAMID_ROWS))))
        return join_extremes(parts)

    def _placed(self) -> Iterator[tuple[int, Block]]:
        """Yield each block with its first row."""
        first = 0
        for block in self.blocks:
            yield first, block
            first += block.rows
