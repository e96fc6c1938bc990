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
    """The header of one rank.

    Attributes:
        rows: Number of its closed rows.
        closing: Whether it is closing.
        bytes_waiting: Bytes of ready-made records that it still has to send.
        age_s: Age of its oldest closed row.
        wanted: Last round for which this rank wants to know whether rank 0's disk has it; 0 for none.
        confirmed: On rank 0: last round that its disk has.
        refused: On rank 0: last round that its disk has refused.
        leaves: On rank 0: whether all ranks are to leave for a new generation, because one waits to join.
    """

    rows: int
    closing: bool
    bytes_waiting: int
    age_s: float
    wanted: int = 0
    confirmed: float = np.inf
    refused: float = np.inf
    leaves: bool = False


class Agreed(msgspec.Struct, frozen=True):
    """The header of a round, equal on all ranks.

    Attributes:
        rows: Closed rows on the rank that has the fewest.
        most_rows: Closed rows on the rank that has the most.
        all_closing: Whether every rank is closing.
        any_closing: Whether at least one rank is closing.
        bytes_waiting: Bytes of ready-made records on the rank that has the most.
        age_s: Age of the oldest closed row.
        wanted: Last round for which any rank wants to know this.
        confirmed: Last round that rank 0's disk has.
        refused: Last round that rank 0's disk has refused.
        leave: Whether all ranks leave for a new generation.
    """

    rows: int
    most_rows: int
    all_closing: bool
    any_closing: bool
    bytes_waiting: int
    age_s: float
    wanted: int
    confirmed: int
    refused: int
    leave: bool = False

    @property
    def unanswered(self) -> bool:
        """Whether a rank wants to know about a round whose result rank 0 does not have yet."""
        return self.wanted > max(self.confirmed, self.refused)


NO_ROUND = Agreed(0, 0, False, False, 0, 0.0, 0, 0, 0)
"""Header before the first round."""


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
        -own.wanted,
        own.confirmed,
        own.refused,
        -own.leaves,
    ]
    low = calls.all_reduce(np.array(numbers, dtype=np.float64), "min")
    if low[0] != -low[1]:
        raise WorldError(
            f"ranks are out of step: protocol numbers from {low[0]:g} to {-low[1]:g} in one round, {PROTOCOL} on this"
            " rank"
        )
    return Agreed(
        rows=int(low[2]),
        most_rows=-int(low[3]),
        all_closing=low[4] == 1,
        any_closing=low[5] == -1,
        bytes_waiting=-int(low[6]),
        age_s=-float(low[7]),
        wanted=-int(low[8]),
        confirmed=int(low[9]),
        refused=int(low[10]),
        leave=low[11] == -1,
    )
