"""The gathered path of a round: every rank sends its closed rows as a report.

In: rows of this rank, and reports of all ranks. Out: its own report, and this rank's rows without the reduced names.
`ranklog.reduce.agree` decides which keys are reduced, and `ranklog.reduce.merger` merges them on rank 0.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from ranklog.reduce.agree import Ready, Report, RowReport
from ranklog.reduce.buffer import Buffer, Row, stack
from ranklog.reduce.ops import FIELDS, QUANTILES, empty_states
from ranklog.reduce.sketch import decode_bins

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


def taken_from(rank: int, ready: Sequence[Ready]) -> dict[int, list[str]]:
    """Return the names of a rank's report that are reduced, by row."""
    taken: dict[int, list[str]] = {}
    for group in ready:
        for holder, index in group.holders:
            if holder == rank:
                taken.setdefault(index, []).extend(group.names)
    return taken


def take(row: RowReport, positions: Sequence[int]) -> RowReport:
    """Return a row of only the names at these positions."""
    if len(positions) == len(row.names):
        return row
    states = np.frombuffer(row.states).reshape(FIELDS, -1)[:, positions].tobytes()
    bins = decode_bins(row.bins, len(row.names)).take(np.array(positions)).encode() if row.bins else b""
    return msgspec.structs.replace(row, names=[row.names[i] for i in positions], states=states, bins=bins)


def split(rows: Sequence[Row], taken: Mapping[int, Sequence[str]]) -> tuple[list[Row], list[Row]]:
    """Return rows without the names that were taken, and the rows of only those names."""
    left: list[Row] = []
    reduced: list[Row] = []
    for index, row in enumerate(rows):
        names = set(taken.get(index, ()))
        if not names:
            left.append(row)
        elif len(names) == len(row.names):
            reduced.append(row)
        else:
            left.append(row.without(names))
            reduced.append(row.without(set(row.names) - names))
    return left, reduced
