"""The gathered path of a round: every rank sends its closed rows, and rank 0 merges them by key.

In: rows of this rank, and packets of all ranks. Out: this rank's rows without the reduced names, and reduced groups
with their states. Merging is in rank order. `Merger` keeps the states of the last keys that were reduced from some
ranks only, so that late values produce a corrected record. Bins merge in any order, so it keeps them merged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from ranklog.abc import Floats
from ranklog.model.errors import WorldError
from ranklog.model.record import Coverage
from ranklog.reduce.agree import REMEMBERED_KEYS, Key, Ready, Report, RowReport
from ranklog.reduce.buffer import Buffer, Row, stack
from ranklog.reduce.ops import FIELDS, QUANTILES, States, concatenate, empty_states, merge
from ranklog.reduce.records import Reduced
from ranklog.reduce.sketch import Bins, decode_bins, merge_bins

GATHER_ROWS = 4096
_GATHER_ROWS_ALL_RANKS = 16384
_NAMES_PER_ROW = 16
_NAMES_PER_QUANTILE = 16

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def _rows_to_send(buffer: Buffer, size: int, widen: int) -> list[Row]:
    """Return the first closed rows, bounded so that the rows of all ranks together stay bounded."""
    limit = widen * min(GATHER_ROWS, max(64, _GATHER_ROWS_ALL_RANKS // size))
    return within(buffer.closed(limit), limit * _NAMES_PER_ROW)


def within(rows: Sequence[Row], limit_names: int) -> list[Row]:
    """Return the first rows with at most ``limit_names`` names together, at least one; names with bins count more."""
    total = 0
    for index, row in enumerate(rows):
        total += len(row.names) * _NAMES_PER_QUANTILE if row.op in QUANTILES else len(row.names)
        if total > limit_names and index:
            return list(rows[:index])
    return list(rows)


def encode_report(
    buffer: Buffer, size: int, *, closing: bool, patience_s: float, since_s: float, widen: int = 1
) -> tuple[list[Row], bytes]:
    """Return the rows of this rank's report, and the report as bytes.

    Args:
        buffer: Its rows.
        size: World size.
        closing: Whether the rank is closing, read before this call.
        patience_s: Age of a row above which it stops waiting for a rank.
        since_s: Monotonic time from which ages count, because no rank could be waited for before.
        widen: How many times as many rows as usual the report may hold.
    """
    # Read these first: a row that closes in the meantime must not count as closed while the report lacks it.
    ever_added, max_closed_step = buffer.ever_added, buffer.max_closed_step
    rows = _rows_to_send(buffer, size, widen)
    complete = len(rows) == buffer.closed_count
    reports = report_rows(rows, since_s)
    report = Report(reports, complete, closing, ever_added, max_closed_step, patience_s)
    return rows, _encoder.encode(report)


def report_rows(rows: Sequence[Row], since_s: float) -> list[RowReport]:
    """Return rows as other ranks see them; ages count from ``since_s`` (monotonic) at the earliest."""
    now_s = time.monotonic()
    stacked = stack(rows) if rows else empty_states(0)
    reports: list[RowReport] = []
    start = 0
    for row in rows:
        end = start + len(row.names)
        states = stacked.table[:, start:end].tobytes()
        bins = stacked.bins.part(start, end).encode() if stacked.bins and row.op in QUANTILES else b""
        age_s = now_s - max(row.closed_s, since_s)
        reports.append(RowReport(row.names, row.step, row.op, row.to, row.time_ns, row.group, age_s, states, bins))
        start = end
    return reports


def decode_report(data: bytes) -> Report:
    """Decode a rank's report."""
    return _decoder.decode(data)


def split(rows: Sequence[Row], ready: Sequence[Ready], rank: int) -> tuple[list[Row], list[Row]]:
    """Return this rank's rows without the reduced names, and the rows of only those names."""
    taken: dict[int, set[str]] = {}
    for group in ready:
        for holder, index in group.holders:
            if holder == rank:
                taken.setdefault(index, set()).update(group.names)
    left: list[Row] = []
    reduced: list[Row] = []
    for index, row in enumerate(rows):
        names = taken.get(index)
        if names is None:
            left.append(row)
        elif len(names) == len(row.names):
            reduced.append(row)
        else:
            left.append(row.without(names))
            reduced.append(row.without(set(row.names) - names))
    return left, reduced


class _Part(msgspec.Struct, frozen=True):
    """Values of one key that were reduced so far.

    Attributes:
        columns: Column of states, by rank.
        answered: Ranks that answered.
        time_ns: Time of the record.
        bins: Bins of all these ranks.
    """

    columns: dict[int, Floats]
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

    def merge(self, ready: Sequence[Ready], reports: Sequence[Report]) -> tuple[list[Reduced], States]:
        """Return groups of equal coverage, and their states, one after the other."""
        pending: list[_PendingRecord] = []
        for item in ready:
            columns = {rank: _columns(item, reports[rank].rows[index]) for rank, index in item.holders}
            times = {rank: reports[rank].rows[index].time_ns for rank, index in item.holders}
            time_ns = times.get(0, min(times.values()))
            bins = _bins(item, reports) if item.op in QUANTILES else None
            if item.late:
                pending += self._late(item, columns, time_ns, bins)
            else:
                pending.append(self._first(item, columns, time_ns, bins))
        while len(self._parts) > REMEMBERED_KEYS:
            del self._parts[next(iter(self._parts))]
        return [each.group for each in pending], _merge_pending(pending)

    def partial_rows(self) -> dict[int, list[RowReport]]:
        """Return the values kept for keys that were reduced from some ranks only, as rows of each of these ranks."""
        rows: dict[int, list[RowReport]] = {}
        for (name, op, to, step), part in self._parts.items():
            bins = part.bins.encode() if part.bins else b""  # of all these ranks, so attached to the first
            for rank, column in part.columns.items():
                report = RowReport([name], step, op, to, part.time_ns, 0, 0.0, column.tobytes(), bins)
                rows.setdefault(rank, []).append(report)
                bins = b""
        return rows

    def _first(self, item: Ready, columns: dict[int, Floats], time_ns: int, bins: Bins | None) -> _PendingRecord:
        """Return a record for values that were not reduced before."""
        for index, key in enumerate(item.keys()):
            self._parts.pop(key, None)
            if len(columns) < self._size:
                own = {rank: table[:, index : index + 1] for rank, table in columns.items()}
                self._parts[key] = _Part(own, item.answered, time_ns, bins and bins.part(index, index + 1))
        coverage = Coverage(len(item.answered), self._size, len(columns))
        return _PendingRecord(Reduced(item.names, item.step, item.op, item.to, time_ns, coverage), columns, bins)

    def _late(self, item: Ready, columns: dict[int, Floats], time_ns: int, bins: Bins | None) -> list[_PendingRecord]:
        """Return corrections of values reduced before, one per name, because each may have come from other ranks."""
        pending: list[_PendingRecord] = []
        for index, key in enumerate(item.keys()):
            own = {rank: table[:, index : index + 1] for rank, table in columns.items()}
            part = _Part(own, item.answered, time_ns, bins and bins.part(index, index + 1))
            earlier = self._parts.pop(key, None)
            if earlier is not None:
                both = [each.bins for each in (earlier, part) if each.bins]
                answered = earlier.answered | part.answered
                part = _Part(earlier.columns | own, answered, time_ns, merge_bins(both) if both else None)
            if len(part.columns) < self._size:
                self._parts[key] = part
            coverage = Coverage(len(part.answered), self._size, len(part.columns))
            group = Reduced([key[0]], item.step, item.op, item.to, time_ns, coverage, corrects=True)
            pending.append(_PendingRecord(group, part.columns, part.bins))
        return pending


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
