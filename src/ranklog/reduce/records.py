"""Turn reduced states into records: metrics with their coverage, and one warning per name at its first NaN.

A `RecordMaker` only remembers the names it has warned about. For the thread that runs the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from ranklog.model.record import Coverage, Event, Metrics, Record
from ranklog.reduce.buffer import Row
from ranklog.reduce.ops import NONFINITE, NONFINITE_RANK, States, results


class Reduced(msgspec.Struct, frozen=True, gc=False):
    """Names that were reduced together, and what they share; they become one record."""

    names: Sequence[str]
    step: int
    op: str
    to: int
    time_ns: int
    coverage: Coverage
    corrects: bool = False


def reduced_of(row: Row, coverage: Coverage) -> Reduced:
    """Return the group of a row that is reduced as a whole."""
    return Reduced(row.names, row.step, row.op, row.to, row.time_ns, coverage)


class RecordMaker:
    """Makes the records of one run."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def make(self, groups: Sequence[Reduced], states: States) -> list[Record]:
        """Return the records of several groups, whose states follow each other in ``states``."""
        by_op = {op: {k: v.tolist() for k, v in results(states, op).items()} for op in {g.op for g in groups}}
        out: list[Record] = []
        start = 0
        for group in groups:
            end = start + len(group.names)
            columns = by_op[group.op]
            if len(columns) == 1:
                values = dict(zip(group.names, columns[""][start:end], strict=True))
            else:
                values = {
                    name + suffix: column[start + index]
                    for index, name in enumerate(group.names)
                    for suffix, column in columns.items()
                }
            out.append(
                Metrics(group.step, group.time_ns, group.to, values, group.op, group.coverage, corrects=group.corrects)
            )
            start = end
        if states.table[NONFINITE].any():
            out.extend(self._nonfinite(groups, states))
        return out

    def _nonfinite(self, groups: Sequence[Reduced], states: States) -> list[Record]:
        names = [(name, group) for group in groups for name in group.names]
        out: list[Record] = []
        for index in np.flatnonzero(states.table[NONFINITE] > 0):
            name, group = names[index]
            if name in self._warned:
                continue
            self._warned.add(name)
            rank = int(states.table[NONFINITE_RANK, index])
            count = int(states.table[NONFINITE, index])
            text = (
                f"{name}: first NaN or infinite value at step {group.step}, on rank {rank}"
                f" ({count} at this step over all ranks); the reduction leaves such values out"
            )
            out.append(Event("warning", "nonfinite", text, time.time_ns(), rank=rank, step=group.step))
        return out
