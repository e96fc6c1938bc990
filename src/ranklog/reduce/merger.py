"""Merge the values of ready keys on rank 0, in rank order.

In: ready keys with the reports of all ranks, or the states of a fused round without all ranks. Out: groups of equal
coverage with their states. The states of the last keys that were reduced from some ranks only are kept, so that late
values produce a corrected record. Bins merge in any order, so they are kept merged. After a break, the same states also
go to rank 0's spill file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from ranklog.abc import Floats
from ranklog.model.errors import WorldError
from ranklog.model.record import Coverage
from ranklog.reduce.agree import REMEMBERED_KEYS, Key, Ready, Report, RowReport
from ranklog.reduce.buffer import Row
from ranklog.reduce.ops import FIELDS, QUANTILES, States, concatenate, empty_states, merge
from ranklog.reduce.records import Reduced
from ranklog.reduce.sketch import Bins, decode_bins, merge_bins
from ranklog.reduce.spill.format import SpillRows


class _Part(msgspec.Struct, frozen=True):
    """Values of one key that were reduced so far.

    Attributes:
        columns: Column of states, by rank. After a fused round the first rank has the state of all that took part.
        contributed: Ranks whose values these are.
        answered: Ranks that answered.
        time_ns: Time of the record.
        bins: Bins of all these ranks.
    """

    columns: dict[int, Floats]
    contributed: frozenset[int]
    answered: frozenset[int]
    time_ns: int
    bins: Bins | None = None


class _PendingRecord(msgspec.Struct, frozen=True):
    """One future record.

    Attributes:
        group: Its names and what they share.
        columns: States of its names, by rank.
        bins: Bins of all these ranks.
    """

    group: Reduced
    columns: dict[int, Floats]
    bins: Bins | None


class Merger:
    """Merges ready keys on rank 0.

    Args:
        size: World size.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._parts: dict[Key, _Part] = {}
        self._new: list[SpillRows] | None = None

    def merge(self, ready: Sequence[Ready], reports: Sequence[Report]) -> tuple[list[Reduced], States]:
        """Return groups of equal coverage, and their states, one after the other."""
        pending: list[_PendingRecord] = []
        for item in ready:
            columns = {rank: _columns(item, reports[rank].rows[index]) for rank, index in item.holders}
            times = {rank: reports[rank].rows[index].time_ns for rank, index in item.holders}
            time_ns = times.get(0, min(times.values()))
            bins = _bins(item, reports) if item.op in QUANTILES else None
            if item.late or len(columns) < self._size:
                self._note_new(item, columns, time_ns, bins)
            if item.late:
                pending += self._late(item, columns, time_ns, bins)
            else:
                pending.append(self._first(item, columns, time_ns, bins))
        self._forget()
        return [each.group for each in pending], _merge_pending(pending)

    def remember(self, rows: Sequence[Row], states: States, members: Sequence[int]) -> None:
        """Keep the states of a fused round of these ranks, because others may still have values for them."""
        ranks = frozenset(members)
        start = 0
        for row in rows:
            end = start + len(row.names)
            own = states.part(start, end)
            bins = own.bins if row.op in QUANTILES else None
            for index, name in enumerate(row.names):
                key = (name, row.op, row.to, row.step)
                self._parts.pop(key, None)
                column = own.table[:, index : index + 1].copy()
                self._parts[key] = _Part({0: column}, ranks, ranks, row.time_ns, bins and bins.part(index, index + 1))
            if self._new is not None:
                encoded = bins.encode() if bins else b""
                table = own.table.tobytes()
                report = RowReport(row.names, row.step, row.op, row.to, row.time_ns, 0, 0.0, table, encoded)
                self._new.append(_kept(0, report, ranks, ranks))
            start = end
        self._forget()

    def partial_rows(self) -> list[SpillRows]:
        """Return values of keys that were reduced from some ranks only: all that are known, or those that are new."""
        if self._new is not None:
            taken, self._new = self._new, []
            return taken
        self._new = []
        kept: list[SpillRows] = []
        for (name, op, to, step), part in self._parts.items():
            bins = part.bins.encode() if part.bins else b""  # of all these ranks, so attached to the first
            fused = len(part.contributed) > len(part.columns)
            for rank, column in part.columns.items():
                report = RowReport([name], step, op, to, part.time_ns, 0, 0.0, column.tobytes(), bins)
                others = part.contributed - set(part.columns) if fused and rank == 0 else frozenset()
                kept.append(_kept(rank, report, others | {rank}, part.answered))
                bins = b""
        return kept

    def _note_new(self, item: Ready, columns: dict[int, Floats], time_ns: int, bins: Bins | None) -> None:
        if self._new is None:
            return
        encoded = bins.encode() if bins else b""
        for rank, table in columns.items():
            states = np.ascontiguousarray(table).tobytes()
            report = RowReport(item.names, item.step, item.op, item.to, time_ns, 0, 0.0, states, encoded)
            self._new.append(_kept(rank, report, {rank}, item.answered))
            encoded = b""

    def _forget(self) -> None:
        while len(self._parts) > REMEMBERED_KEYS:
            del self._parts[next(iter(self._parts))]

    def _first(self, item: Ready, columns: dict[int, Floats], time_ns: int, bins: Bins | None) -> _PendingRecord:
        """Return a record for values that were not reduced before."""
        ranks = frozenset(columns)
        for index, key in enumerate(item.keys()):
            self._parts.pop(key, None)
            if len(columns) < self._size:
                own = {rank: table[:, index : index + 1] for rank, table in columns.items()}
                self._parts[key] = _Part(own, ranks, item.answered, time_ns, bins and bins.part(index, index + 1))
        coverage = Coverage(len(item.answered), self._size, len(columns))
        return _PendingRecord(Reduced(item.names, item.step, item.op, item.to, time_ns, coverage), columns, bins)

    def _late(self, item: Ready, columns: dict[int, Floats], time_ns: int, bins: Bins | None) -> list[_PendingRecord]:
        """Return corrections of values reduced before, one per name, because each may have come from other ranks."""
        pending: list[_PendingRecord] = []
        for index, key in enumerate(item.keys()):
            own = {rank: table[:, index : index + 1] for rank, table in columns.items()}
            part = _Part(own, frozenset(own), item.answered, time_ns, bins and bins.part(index, index + 1))
            earlier = self._parts.pop(key, None)
            if earlier is not None:
                part = _together(earlier, part)
            if len(part.contributed) < self._size:
                self._parts[key] = part
            coverage = Coverage(len(part.answered), self._size, len(part.contributed))
            group = Reduced([key[0]], item.step, item.op, item.to, time_ns, coverage, corrects=True)
            pending.append(_PendingRecord(group, part.columns, part.bins))
        return pending


def _together(earlier: _Part, late: _Part) -> _Part:
    both = [each.bins for each in (earlier, late) if each.bins]
    return _Part(
        earlier.columns | late.columns,
        earlier.contributed | late.contributed,
        earlier.answered | late.answered,
        late.time_ns,
        merge_bins(both) if both else None,
    )


def _kept(rank: int, row: RowReport, contributed: Iterable[int], answered: Iterable[int]) -> SpillRows:
    return SpillRows(rank, [row], written=True, contributed=sorted(contributed), answered=sorted(answered))


def _columns(item: Ready, row: RowReport) -> Floats:
    """Return the states of the item's names in a row."""
    table = np.frombuffer(row.states).reshape(FIELDS, -1)
    if row.names == item.names:
        return table
    return table[:, _positions(item, row)]


def _positions(item: Ready, row: RowReport) -> list[int]:
    """Return the positions of the item's names in a row."""
    position = {name: i for i, name in enumerate(row.names)}
    return [position[name] for name in item.names]


def _bins(item: Ready, reports: Sequence[Report]) -> Bins:
    """Return the bins of the item's names over all ranks that have them."""
    all_bins: list[Bins] = []
    for rank, index in item.holders:
        row = reports[rank].rows[index]
        try:
            bins = decode_bins(row.bins, len(row.names))
        except ValueError as error:
            raise WorldError(
                f"cannot read the values of {row.names[0]} at step {row.step} that rank {rank} sent: {error};"
                " install the same version of ranklog on all ranks"
            ) from error
        all_bins.append(bins if row.names == item.names else bins.take(_positions(item, row)))
    return merge_bins(all_bins)


def _merge_pending(pending: Sequence[_PendingRecord]) -> States:
    """Merge each record over its ranks, in rank order; records of the same ranks all at once."""
    out = [empty_states(0)] * len(pending)
    by_ranks: dict[tuple[int, ...], list[int]] = {}
    for index, each in enumerate(pending):
        by_ranks.setdefault(tuple(sorted(each.columns)), []).append(index)
    for ranks, indices in by_ranks.items():
        tables = [np.concatenate([pending[i].columns[rank] for i in indices], axis=1) for rank in ranks]
        total = States(tables[0])
        for table in tables[1:]:
            total = merge(total, States(table))
        start = 0
        for index in indices:
            end = start + len(pending[index].group.names)
            out[index] = States(total.table[:, start:end], pending[index].bins)
            start = end
    return concatenate([empty_states(0), *out])
