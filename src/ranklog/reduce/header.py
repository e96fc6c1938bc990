"""The header of a round: a few numbers that all ranks agree on with one all_reduce before anything else.

It also detects ranks that are out of step, by a protocol number that must be equal everywhere.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ranklog.model.errors import WorldError
from ranklog.reduce.fused import Deadline
from ranklog.reduce.handshake import PROTOCOL


class Header(msgspec.Struct, frozen=True):
    """What one rank contributes.

    Attributes:
        rows: Its closed rows.
        closing: Whether it is closing.
        bytes_waiting: Bytes of ready-made records that it still has to send.
        age_s: Age of its oldest closed row.
    """

    rows: int
    closing: bool
    bytes_waiting: int
    age_s: float


class Agreed(msgspec.Struct, frozen=True):
    """The header of a round, equal on all ranks.

    Attributes:
        rows: Closed rows on the rank that has the fewest.
        most_rows: Closed rows on the rank that has the most.
        all_closing: Whether every rank is closing.
        any_closing: Whether at least one rank is closing.
        bytes_waiting: Bytes of ready-made records on the rank that has the most.
        age_s: Age of the oldest closed row.
    """

    rows: int
    most_rows: int
    all_closing: bool
    any_closing: bool
    bytes_waiting: int
    age_s: float


def agree_header(own: Header, calls: Deadline) -> Agreed:
    """Exchange headers with all ranks.

    Raises:
        WorldError: the ranks are out of step or cannot communicate.
    """
    numbers = [
        PROTOCOL,
        -PROTOCOL,
        own.rows,
        -own.rows,
        own.closing,
        -own.closing,
        -own.bytes_waiting,
        -own.age_s,
    ]
    low = calls.all_reduce(np.array(numbers, dtype=np.float64), "min")
    if low[0] != -low[1]:
        raise WorldError(
            f"ranks are out of step: protocol numbers from {low[0]:g} to {-low[1]:g} in one round, {PROTOCOL} on this"
            " rank"
        )
    return Agreed(int(low[2]), -int(low[3]), low[4] == 1, low[5] == -1, -int(low[6]), -float(low[7]))
